"""What ships with weights: export, model card, curves."""
