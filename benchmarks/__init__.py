"""Scripts that print tables. They measure; they never pass or fail."""
