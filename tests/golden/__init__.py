"""Tables that more than one kind of test reads."""
