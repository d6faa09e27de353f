"""What a model reads of a frame: padded, normalized, and small."""
