"""What is promised when something breaks, and what is seen: `python -m benchmarks.faults`."""
