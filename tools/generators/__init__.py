"""What writes the generated files: one module each, listed in `tools/generate.py`."""
