"""Benchmarks of the kernels and of the model; `python -m benchmarks` lists them.

Imports run one way: suites import the harness; the report imports the harness and recorded results;
`gpu`, the steps of `gpu.sh`, may import all of them. `harness` and `static` import none.
"""
