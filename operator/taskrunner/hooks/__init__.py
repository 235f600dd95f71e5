"""kopf handlers: they hand over and return."""
