"""Where interactions come from: readers of files, and the generator of the embedded data."""
