"""A sum of two tensors, and its layer normalization."""
