"""Pictures that explain what a model does: of target frames, worst cases and training runs."""
