"""Flows along curved paths."""
