"""Exports a model to one .tflite with the top-K inside: the command of flaxrec/export_tflite.py.

python export_tflite.py (--workdir=DIR | --from_tflite=FILE | --starter=NAME) [--output=DIR] ...
"""

import sys

from flaxrec.export_tflite import main

if __name__ == "__main__":
    sys.exit(main())
