"""What `lift.kernels.patch` gains in models of other projects."""
