"""An export as one HTML page that runs the model in the browser: python -m flaxrec.demo.

exports -> what the page shows of them (`content`, `catalogue`, `panel`, `label_table`)
static/ + content + LiteRT.js (`litertjs`) -> one file (`page`), written or served (`serve`)
"""
