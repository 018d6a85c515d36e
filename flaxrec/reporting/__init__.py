"""A report: from the rows and per-label tables of finished runs to tables and plots for a paper.

    runs (rows) -> results (points) -> measured (figures, by test set)
        -> main_table, pairs, breakdown_tables, origin, latency -> tables, latex
        -> layout, drawing, plots

`report` puts it together. Statistics are those of `research/`; nothing here trains or ranks.
"""
