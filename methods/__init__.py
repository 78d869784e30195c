"""The built-in distillation methods, one file each, found through the entry points ``bench.methods``."""
