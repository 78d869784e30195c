"""Data sets of real images by name, and a reader for each format of file."""
