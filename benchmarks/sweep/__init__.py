"""Random calls of every op, each compared with its definition: `python -m benchmarks.sweep`."""
