"""What tasks cost that are far from due."""
