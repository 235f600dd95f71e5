"""Composition roots: one module per process that taskrunner can be."""
