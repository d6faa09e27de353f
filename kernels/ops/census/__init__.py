"""The census loss of two images."""
