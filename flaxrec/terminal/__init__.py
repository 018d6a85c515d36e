"""Output for a terminal: progress of long work, text tables."""
