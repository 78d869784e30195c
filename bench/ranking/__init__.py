"""Many runs as data: final numbers, rows, statistics, convergence, and published numbers.

Nothing here imports torch.
"""
