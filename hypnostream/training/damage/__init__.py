"""Sensors that are missing, failing, or of another amplifier."""
