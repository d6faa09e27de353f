"""Measuring: metrics, protocols, baselines, pictures."""
