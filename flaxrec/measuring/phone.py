"""Shell commands that measure a file on an Android phone with LiteRT's own `benchmark_model`.

Flags as in https://github.com/tensorflow/tensorflow/tree/master/tensorflow/lite/tools/benchmark.
Without ranges the tool draws ids from 0 to 99 for any table. Its ranges apply to integers only;
numbers are drawn from -0.5 to 0.5.
"""

import re
import shlex

from flaxrec.tflite.inspection import ModelFile

TOOL = (
    "https://storage.googleapis.com/tensorflow-nightly-public/prod/tensorflow/release/lite/tools/"
    "nightly/latest/android_aarch64_benchmark_model"
)
REMARK = (
    "On a phone, with LiteRT's own benchmark (not run here). It repeats one drawn context, which "
    "the processor learns, and never resets variable tensors: its latencies are below those of new "
    "contexts and compare with each other only."
)
_FOLDER = "/data/local/tmp"
_ON_PHONE = f"{_FOLDER}/benchmark_model"


def setup() -> list[str]:
    """Shell commands that install the tool on the phone."""
    return [
        f"curl -fLo benchmark_model {TOOL}",
        f"adb push benchmark_model {_ON_PHONE}",
        f"adb shell chmod +x {_ON_PHONE}",
    ]


def commands(model: ModelFile, name: str, *, threads: int = 4, delegate: bool = True) -> list[str]:
    """Shell commands that measure one file: its latency, then its operators.

    `name` is unique among the files on the phone. With `delegate`, XNNPACK runs what it can.
    """
    graph = f"{_FOLDER}/{_word(name)}"
    flags = [
        f"--graph={graph}",
        f"--num_threads={threads}",
        f"--use_xnnpack={str(delegate).lower()}",
        *_input_flags(model),
    ]
    run = f"adb shell {_ON_PHONE} {' '.join(flags)}"
    return [
        f"adb push {shlex.quote(model.path.as_posix())} {graph}",
        run,
        f"{run} --enable_op_profiling=true",
    ]


def _input_flags(model: ModelFile) -> list[str]:
    """Names, shapes and ranges of ids of all inputs, in the file's order.

    The tool takes any names, by position, but ':' and ',' separate its lists.
    """
    names = [_word(spec.name) for spec in model.inputs]
    shapes = [",".join(map(str, spec.shape)) for spec in model.inputs]
    ranges = [
        f"{name},{','.join(map(str, _range(spec.rows)))}"
        for name, spec in zip(names, model.inputs, strict=True)
        if spec.rows is not None
    ]
    flags = [f"--input_layer={','.join(names)}", f"--input_layer_shape={':'.join(shapes)}"]
    return [*flags, f"--input_layer_value_range={':'.join(ranges)}"] if ranges else flags


def _range(rows: int) -> tuple[int, int]:
    """Lowest and highest id to draw; row 0 is padding."""
    return min(1, rows - 1), rows - 1


def _word(text: str) -> str:
    return re.sub(r"[^\w.-]", "_", text)
