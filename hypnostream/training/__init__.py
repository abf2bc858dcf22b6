"""Recordings in, a bundle out. Needs the `train` extra."""
