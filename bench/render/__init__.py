"""Tables, figures, the report and the live display: all that people look at."""
