"""Divided differences of curved paths, and the input of the convolutions that weight them."""
