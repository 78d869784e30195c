"""A recipe carried out: what it requires, the training loop, the run, and many runs at once."""
