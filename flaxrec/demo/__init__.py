"""Makes one HTML page that runs exports in the browser: python -m flaxrec.demo.

exports -> the page's content (`content`, `catalogue`, `encoding`, `panel`, `label_table`)
static/ + content + LiteRT.js (`litertjs`) -> one file (`page`), written or served (`serve`)
"""
