"""Benchmarks, static analysis of the kernels, the report, and the run on a GPU."""
