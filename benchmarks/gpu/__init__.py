"""The steps of `benchmarks/gpu.sh`."""
