"""Nights as models train on them: token nights, signal nights, and who is on which side of a split."""
