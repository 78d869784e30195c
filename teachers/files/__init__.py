"""Files that hold an EDM network, read as data: its snapshots, and whatever else its weights come in."""
