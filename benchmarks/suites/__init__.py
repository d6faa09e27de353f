"""The suites that pytest-benchmark runs, a file an operation and two for the model."""
