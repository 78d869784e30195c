"""Real images: the data sets by name, and one reader for each format of file."""
