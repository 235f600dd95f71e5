"""Benchmarks: `python -m bench` measures and compares with limits.yaml. See `bench.__main__`."""
