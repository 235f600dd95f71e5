"""Measures on a real control plane with simulated nodes."""
