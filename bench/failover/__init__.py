"""What the end of a leader costs."""
