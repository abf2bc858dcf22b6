"""Teaching the learned model of breathing."""
