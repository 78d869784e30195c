"""The examples themselves: each a plugin file that runs as it stands."""
