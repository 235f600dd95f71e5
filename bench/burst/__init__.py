"""Many tasks due in the same second."""
