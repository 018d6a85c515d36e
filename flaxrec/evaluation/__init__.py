"""Ranks of labels among all candidates, and tables with one row per label."""
