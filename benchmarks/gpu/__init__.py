"""Tables that need a machine with a GPU."""
