"""Where a training step's memory and time go."""
