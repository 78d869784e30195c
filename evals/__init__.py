"""The built-in metrics, feature extractors and protocols, which the suite finds by entry points."""
