"""Adapters that implement the ports on a real API server."""
