"""Releasing weights: export, model card, curves."""
