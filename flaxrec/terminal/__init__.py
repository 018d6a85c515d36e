"""What a person reads on a terminal: progress of long work, tables of text."""
