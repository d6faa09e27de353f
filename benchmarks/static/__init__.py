"""What is known of a kernel without a GPU: registers, spills, occupancy."""
