"""How good a model is, measured from what it said of nights that it never saw."""
