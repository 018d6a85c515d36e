"""From a question to a table: sweeps, seeds side by side, statistics, baselines, tables and plots.

Stands on training and evaluation, which know nothing of it.
"""
