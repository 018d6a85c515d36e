"""How flaxrec is cited."""

import flaxrec

TITLE = "flaxrec: on-device sequential recommendation in JAX/Flax"
AUTHORS = "The flaxrec authors"  # a group: BibTeX must not take it apart
YEAR = 2026


def bibtex() -> str:
    """The entry of this version, for a .bib file."""
    return f"""@software{{flaxrec,
  author  = {{{{{AUTHORS}}}}},
  title   = {{{{{TITLE}}}}},
  version = {{{flaxrec.__version__}}},
  year    = {{{YEAR}}},
  note    = {{Apache License 2.0}},
}}
"""
