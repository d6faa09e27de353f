"""Grid sampling, as F.grid_sample has it."""
