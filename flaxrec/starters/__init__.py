"""Starter models: trained, small enough for the repository, ready to be exported.

    a finished sweep -> pack (weights of seed 0) -> models/NAME/ (folder: what it holds)
                          figures (three seeds) -> card
    models/NAME/ + a MovieLens copy -> load -> what `export.bundle` takes
                                        histories (contexts to verify the export with)
    models/NAME/ -> measure (the exported file beside a published one) -> figures, card

A folder holds ids and weights alone: titles, genres and counts are joined from the user's copy.
"""
