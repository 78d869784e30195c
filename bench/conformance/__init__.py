"""Does a plugin keep its contract? Small checks of each kind of thing, in seconds on a CPU."""
