"""What people look at: the live display, tables, sample grids and figures."""
