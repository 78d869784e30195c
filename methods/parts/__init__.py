"""Parts that several methods share: one small base for each family, and functions."""
