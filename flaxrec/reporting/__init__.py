"""A report: from the rows and per-label tables of finished runs to tables and plots for a paper.

    results (runs, grouped to points) -> measured (estimates, by test set)
        -> comparison_tables, breakdown_tables, costs -> table_forms (Markdown, LaTeX, CSV)
        -> plots, drawing

`output` puts it together. Statistics are those of `research/`; nothing here trains or ranks.
"""
