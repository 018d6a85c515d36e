"""An export as one HTML page that runs the model in the browser: python -m flaxrec.demo.

exports -> what the page is told of them (`content`, `catalogue`, `figures`, `label_table`)
static/ + content + LiteRT.js (`runtime`) -> one file (`page`), written or served (`serve`)
"""
