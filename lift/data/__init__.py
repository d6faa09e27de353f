"""Clips: what they are, where they come from, how they are cut, altered and batched."""
