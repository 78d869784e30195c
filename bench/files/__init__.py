"""Files: written in one step, downloaded and verified, and foreign formats read as data, never run."""
