"""How an evaluation chooses, prepares and scores frames; one module a protocol."""
