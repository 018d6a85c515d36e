"""Ranks of labels among all candidates, and the tables that keep them label by label."""
