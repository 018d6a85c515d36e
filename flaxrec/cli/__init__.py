"""What the commands share: the parser of their arguments, their help, one-sentence errors."""
