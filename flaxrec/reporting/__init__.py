"""A report: turns rows and per-label tables of finished runs into tables and plots for a paper.

    results (runs, grouped to points) -> measured (estimates, by test set)
        -> comparison_tables, breakdown_tables, costs -> table_forms (Markdown, LaTeX, CSV)
        -> plots, drawing

`output` writes the report. Statistics come from `research/`; nothing here trains or ranks.
"""
