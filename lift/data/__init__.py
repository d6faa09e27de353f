"""Training data: sequences, sampling of clips, augmentation, batches."""
