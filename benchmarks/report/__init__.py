"""Tables and charts of recorded results."""
