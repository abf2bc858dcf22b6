"""Scripts that print tables and never pass or fail on time. `python -m benchmarks` runs them all; see README.md."""
