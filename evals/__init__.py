"""The built-in metrics, feature extractors and protocols, found through the entry points ``bench.evals``."""
