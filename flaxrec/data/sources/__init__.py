"""Sources of interactions: readers of files, and the synthetic generator."""
