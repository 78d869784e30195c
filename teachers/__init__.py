"""The built-in teachers, released generators and data sets, which the suite finds by entry points."""
