"""Backward warp, and two of them blended by visibility."""
