"""The line of runs that wait for a place."""
