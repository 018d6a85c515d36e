"""Starter models: trained, small enough for the repository, ready to be exported.

    a finished sweep -> pack (weights of seed 0, facts of three seeds) -> models/NAME/
    models/NAME/ + a MovieLens copy -> load -> what `exporting.bundle` takes
                                       sample_contexts (to verify the export with)
    models/NAME/ -> measure (the exported file beside a published one) -> figures.json, card

`folder` reads and writes models/NAME/, `card` is its page. A folder holds ids and weights alone:
titles, genres and counts are joined from the user's copy.
"""
