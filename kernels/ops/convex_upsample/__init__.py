"""Learned upsampling of flows and visibilities by convex combinations."""
