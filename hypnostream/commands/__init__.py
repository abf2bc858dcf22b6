"""Groups of commands, each in a file of its own. What they do is in the rooms; each imports it when it runs."""
