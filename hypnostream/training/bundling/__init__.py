"""A trained model out as a bundle, and how large it is."""
