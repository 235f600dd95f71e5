"""Fuzzing: `make fuzz` looks ten minutes for input that the planning core cannot take."""
