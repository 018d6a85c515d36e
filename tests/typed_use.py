"""What type checkers see of `flaxrec`; mypy checks this file, nothing runs it."""

from pathlib import Path
from typing import assert_type

import flaxrec

config = flaxrec.load_config("quickstart:smoke")
assert_type(config, flaxrec.Config)
result = flaxrec.train(config, "runs/mine")
assert_type(result, flaxrec.Result)
assert_type(result.metrics, dict[str, float])
assert_type(result.workdir, Path)
folder = flaxrec.export(result.workdir, top_k=10, quantization="int8")
assert_type(folder, Path)
recommender = flaxrec.Recommender.load(folder)
assert_type(recommender.recommend([1, 364]), list[flaxrec.Recommendation])
history = [{"item": 1, "time": 978300760}]
assert_type(recommender.recommend(history, now="unknown"), list[flaxrec.Recommendation])
