"""In-memory stand-ins for the ports. `tests/contract` proves that they behave like the real."""
