"""`flaxrec.config.presets` by its name of version 0.1, for config files written then."""

import warnings

from flaxrec.config.presets import *  # noqa: F403

movielens = example_network  # noqa: F405
warnings.warn("flaxrec.presets is called flaxrec.config.presets now.", FutureWarning, stacklevel=2)
