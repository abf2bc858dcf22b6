"""The stagers: their training, cross-validation and comparisons."""
