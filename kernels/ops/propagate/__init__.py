"""Flows replaced by those of pixels a distance away where these explain the images better."""
