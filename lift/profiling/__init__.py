"""Activation memory and time of a training step by model stage."""
