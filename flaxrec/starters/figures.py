"""What is said of a starter: figures of a sweep's point, as figures.json keeps them.

Shapes: n seeds.
"""

import math
from collections.abc import Sequence
from typing import Any

from flaxrec.errors import DataError
from flaxrec.reporting.results import Point
from flaxrec.reporting.runs import Run
from flaxrec.starters.card import METRICS

LEVEL = 0.95
SEEDS = 3  # at least; the first one is shipped
_DIGITS = 6


def of(name: str, point: Point, device: str = "") -> dict[str, Any]:
    """The figures of a point, ready for JSON; the same point gives the same figures.

    Where every seed's row tells how good the exported file is (`exported`: bytes, recipe, metrics
    on the test labels), the figures are those; otherwise they are the trained model's.

    Args:
      name: the starter's.
      point: three finished runs or more, seed 0 among them.
      device: what they were trained on, in words; '': as the rows name it.

    Raises:
      DataError: there are too few seeds, a metric is missing, or the seeds were exported by
        different recipes.
    """
    seeds = [run.seed for run in point.runs]
    if len(seeds) < SEEDS or seeds[0] != 0:
        raise DataError(
            f"The starter {name} has finished runs of seed {', '.join(map(str, seeds))}; let the "
            f"sweep finish {SEEDS} seeds, 0 among them."
        )
    row = point.runs[0].row
    by_seed = [run.row.get("exported") or {} for run in point.runs]
    of_files = all(exported.get("metrics") for exported in by_seed)
    metrics = [e["metrics"] for e in by_seed] if of_files else [r.metrics for r in point.runs]
    return {
        "name": name,
        "protocol": point.protocol,
        "labels": dict(point.runs[0].labels),
        "seeds": seeds,
        "measured_on": "exported" if of_files else "trained",
        "recipe": recipe(name, point.runs),
        "bytes": by_seed[0].get("bytes") or row.get("export_bytes"),
        "metrics": {metric: _summary(name, metric, metrics) for metric in METRICS},
        # Seed 0's before it was rounded, which an export tells beside those of its file.
        "trained": {m: round(float(point.runs[0].metrics[m]), _DIGITS) for m in METRICS},
        "step": row.get("best_step"),
        "epochs": [run.row.get("best_epoch") for run in point.runs],
        "training": {
            "device": device or row.get("device"),
            "seconds": round(sum(run.row["wall_seconds"] for run in point.runs) / len(seeds), 1),
            "side_by_side": row.get("side_by_side", 1),
            "revision": _revision(row.get("git") or {}),
            "versions": row.get("versions") or {},
        },
        "file": None,  # what `measure` finds of the file that this very folder exports
    }


def recipe(name: str, runs: Sequence[Run]) -> str:
    """How the runs' files are quantised; raises DataError if not all alike."""
    asked = runs[0].row["config"]["export"]["quantization"]
    found = {(run.row.get("exported") or {}).get("recipe", asked) for run in runs}
    if len(found) > 1 or found == {"auto"}:
        raise DataError(
            f"The runs of the starter {name} were exported by {' and '.join(sorted(found))}; set "
            "config.export.quantization to one recipe for all seeds."
        )
    return found.pop()


def next_run(values: Sequence[float]) -> tuple[float, float]:
    """Where one more run, of another seed, lands with 95%: Student's prediction interval.

    mean -+ t * s * sqrt(1 + 1/n), with t of n - 1 degrees of freedom and s the standard deviation
    between the n values, at least two.
    """
    import scipy.stats  # of the research extra; only packing needs it

    n, mean = len(values), sum(values) / len(values)
    t = float(scipy.stats.t.ppf((1 + LEVEL) / 2, n - 1))
    width = t * deviation(values) * math.sqrt(1 + 1 / n)
    return mean - width, mean + width


def deviation(values: Sequence[float]) -> float:
    """Standard deviation between seeds, n - 1 in the denominator."""
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _summary(name: str, metric: str, by_seed: Sequence[Any]) -> dict[str, Any]:
    if not all(metric in metrics for metrics in by_seed):
        raise DataError(
            f"The runs of the starter {name} have no {metric}; put 10 into config.evaluation.ks."
        )
    values = [float(metrics[metric]) for metrics in by_seed]
    return {
        "seeds": _rounded(values),
        "mean": round(sum(values) / len(values), _DIGITS),
        "deviation": round(deviation(values), _DIGITS),
        "next_run": _rounded(next_run(values)),
    }


def _revision(git: dict[str, Any]) -> str | None:
    """Of the code; a + marks changes that were not committed."""
    revision = git.get("revision")
    return f"{revision}+" if revision and git.get("dirty") else revision


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, _DIGITS) for value in values]
