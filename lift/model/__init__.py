"""The model: one file per stage, and `lift.py`, which joins the five."""
