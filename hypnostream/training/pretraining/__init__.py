"""Steps 1 and 2, without labels, and the probes of what was learned."""
