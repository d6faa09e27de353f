"""The five stages, a file each, and `lift.py`, which joins them."""
