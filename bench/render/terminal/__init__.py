"""The terminal while work goes on, and at its end."""
