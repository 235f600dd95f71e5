"""The data path, over ports."""
