"""The built-in teachers and their data sets, found through the entry points ``bench.teachers`` and ``bench.datasets``."""
