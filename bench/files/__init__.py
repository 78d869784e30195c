"""Bytes: written atomically, downloaded and verified, and files of foreign formats read as data."""
