"""Training: losses, the loop, checkpoints, phases."""
