"""Scene cuts: the frames that open a new shot."""
