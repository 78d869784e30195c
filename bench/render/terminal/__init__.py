"""What a terminal shows while work goes on, and at its end."""
