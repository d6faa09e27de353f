"""Resource usage of kernels without a GPU: registers, spills, occupancy."""
