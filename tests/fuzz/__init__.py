"""A search for inputs that break a command: `python -m tests.fuzz --help`."""
