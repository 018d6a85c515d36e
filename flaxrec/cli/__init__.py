"""What the commands share: flags, help, one-sentence errors."""
