"""The client and the reflector, over loopback."""
