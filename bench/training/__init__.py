"""A recipe carried out: what it requires, the training loop, and the run."""
