"""GroupNorm with what stands before and after it."""
