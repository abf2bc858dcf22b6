"""Breathing as it happens: apneas, hypopneas, desaturations and arousals out of conditioned seconds."""
