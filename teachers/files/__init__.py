"""Read files with a network of EDM as data: its snapshots, and other formats of its weights."""
