"""Evaluation: protocols, metrics, baselines, figures."""
