"""Models of the TensorFlow example with a byte changed, or with a weight that is no number.

A K beyond the catalogue ends the command once everything is read, so an attempt takes milliseconds.
"""

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from flaxrec.tflite import flatbuffer
from tests.fuzz.attempts import Attempt
from tests.support.faults import changed_bytes
from tests.support.small_files import small

TOLD = "are not all finite numbers"


def attempts(random: random.Random, folder: Path) -> Iterator[Attempt]:
    """Attempts without end."""
    file = folder / "published.tflite"
    command = ("export", f"--from_tflite={file}", f"--output={folder / 'out'}", "--top_k=1000000")
    contents = {name: small(name).content for name in ("bow", "cnn", "lstm")}
    weights = {name: list(weights_in(content)) for name, content in contents.items()}
    while True:
        name = random.choice(list(contents))
        content, what = contents[name], "as it is"
        names: tuple[object, ...] = (file, "top_k is 1000000")
        if random.random() < 0.3:
            offset, size = random.choice(weights[name])
            at = offset + 4 * random.randrange(size // 4)
            value = np.float32(random.choice([np.nan, np.inf, -np.inf])).tobytes()
            content = content[:at] + value + content[at + 4 :]
            what, names = f"{value!r} at {at}", (TOLD,)
        else:
            made = list(changed_bytes(content, [random.random()]))
            place = random.randrange(len(made))
            content, what = made[place], str(place)
        file.write_bytes(content)
        yield Attempt(f"{name}: {what}", command, names)


def weights_in(content: bytes) -> Iterator[tuple[int, int]]:
    """Offset and bytes of each table and kernel in a file."""
    model = flatbuffer.read(content)
    for tensor in model.subgraphs[0].tensors:
        data = model.buffers[tensor.buffer].data
        if flatbuffer.dtype(tensor) == "float32" and data is not None and len(data) > 64:
            yield content.find(bytes(data)), len(data)
