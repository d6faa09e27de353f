"""Least work of the ops in `frame_suites.py`; see `work.py`."""
