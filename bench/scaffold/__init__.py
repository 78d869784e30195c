"""New plugins, as working examples of their kind to begin from."""
