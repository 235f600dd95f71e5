"""Planning: pure functions on one core."""
