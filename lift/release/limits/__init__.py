"""What limits released weights: motion, flow, noise, the worst frames, and the training curve."""
