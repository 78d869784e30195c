"""Weights files of every published format, read as data: from the bytes (`pickles`) up to a network (`checkpoints`)."""
