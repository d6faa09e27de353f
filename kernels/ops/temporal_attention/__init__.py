"""Windowed temporal attention."""
