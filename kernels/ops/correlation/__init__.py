"""Correlation of two feature maps over a square of displacements."""
