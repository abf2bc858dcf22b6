"""How anything is trained or done to many items: the loop, its folder, its processes. Knows no model and no data."""
