"""Motion at the target's time from a correlation of its two references."""
