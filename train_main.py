"""Trains, evaluates and exports one experiment: the command of flaxrec/train_main.py.

python train_main.py [--config=configs/NAME.py[:VARIANT]] [--workdir=DIR]
    [--config.SECTION.FIELD=VALUE ...]
"""

import sys

from flaxrec.train_main import main

if __name__ == "__main__":
    sys.exit(main())
