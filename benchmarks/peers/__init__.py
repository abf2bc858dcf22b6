"""Programs that time others. They run in an environment of their own, so they import nothing of ours."""
