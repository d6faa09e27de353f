"""The input of the refinement's first convolution."""
