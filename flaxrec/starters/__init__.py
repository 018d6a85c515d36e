"""Starter models: trained, small enough for the repository, ready to be exported.

    a finished sweep -> pack (weights of seed 0, facts of three seeds) -> models/NAME/
    models/NAME/ + a MovieLens copy -> load -> the arguments of `exporting.bundle`
                                       sample_contexts (to verify the export)
    models/NAME/ -> measure (the exported file beside a published one) -> figures.json, card

`folder` reads and writes models/NAME/, `card` renders its page. A folder holds only ids and
weights; titles, genres and counts come from the user's copy of MovieLens.
"""
