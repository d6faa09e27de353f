"""`time_mlp`: a small MLP of time differences."""
