"""10,000 executions an hour."""
