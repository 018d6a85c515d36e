"""From a question to measured points: sweeps, seeds side by side, statistics.

    plan (a sweep file's runs) -> sweeping (results.jsonl, run folders) <- side_by_side
    point_labels (per-label tables of a point) -> breakdown, statistics

It imports training and evaluation; `reporting/` imports it.
"""
