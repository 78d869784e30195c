"""A campaign of faults: runs that are killed, damaged, refused room, and crowded."""
