"""Files that torch and Python's pickle wrote, read as data: nothing in them is imported, called or run."""
