"""Figures of a run and of comparisons."""
