"""The epilogue of a convolution: bias, skip connection and leaky ReLU."""
