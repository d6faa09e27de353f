"""How much two images differ around each pixel, relative to their contrast."""
