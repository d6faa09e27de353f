"""Ablations: variants of a model under the same seeds, data and steps, scored side by side."""
