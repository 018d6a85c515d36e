"""Measures time and peak memory to prepare MovieLens-1M, from files to training-ready arrays.

    python benchmarks/preparation.py DIR [--inputs=id|features|id_genre|combined]

The peak is that of the whole process, including the imports of Python, NumPy and polars. The time
is without imports.
"""

import argparse
import resource
import time

from flaxrec.config.presets import INPUTS, example_network
from flaxrec.data import splits, timelines
from flaxrec.data.sources import read


def main() -> None:
    """Prints one line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="folder of MovieLens-1M")
    parser.add_argument("--inputs", default="id", choices=INPUTS, help="which features")
    arguments = parser.parse_args()
    config = example_network("bow", arguments.inputs)
    config.data.path = arguments.folder
    start = time.perf_counter()
    built = timelines.build(read.read(config.data), config)
    splits.split(built, config.split)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{built.report['source']}, {arguments.inputs}: {built.report['events']:,} events in "
        f"{seconds:.2f} s, peak memory {peak:.0f} MiB"
    )


if __name__ == "__main__":
    main()
