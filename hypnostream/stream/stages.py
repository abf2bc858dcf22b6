"""Sleep stages by their AASM names, and the order that every array of probabilities keeps."""

from typing import Final

STAGES: Final = ("W", "N1", "N2", "N3", "R")
UNSCORED: Final = -1
EPOCH_S: Final = 30
