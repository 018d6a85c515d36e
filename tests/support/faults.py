"""What a command answers to bad input: one sentence, or its traceback."""

import contextlib
import dataclasses
import io
import logging
from collections.abc import Iterable, Sequence

from flaxrec.__main__ import main


@dataclasses.dataclass(frozen=True)
class Answer:
    """How a command ended.

    Attributes:
      status: the exit status.
      out: its stdout.
      err: its stderr.
    """

    status: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """What it said at the end, without the name."""
        lines = self.err.strip().split("\n")
        return lines[-1].removeprefix("flaxrec: ") if lines[-1].startswith("flaxrec: ") else ""

    def refused(self, names: Iterable[object]) -> None:
        """Asserts that it said in one sentence what is wrong, with one of these names in it."""
        assert self.status in (1, 2), self
        assert self.sentence, self
        assert any(str(name) in self.sentence for name in names), (self.sentence, names)
        assert len(self.sentence) < 1_000, self.sentence
        assert self.sentence.isprintable(), self.sentence
        assert ";" in self.sentence, f"no remedy: {self.sentence}"
        assert self.sentence[-1] in ".?", self.sentence


def answer(*argv: object) -> Answer:
    """Runs `flaxrec ARGV` in this process; what it does not foresee is raised here."""
    out, err = io.StringIO(), io.StringIO()
    warnings = logging.StreamHandler(err)  # those there may write to another stderr
    logging.getLogger().addHandler(warnings)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main([str(argument) for argument in argv])
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    finally:
        logging.getLogger().removeHandler(warnings)
    return Answer(status, out.getvalue(), err.getvalue())


def changed_bytes(content: bytes, places: Sequence[float]) -> Iterable[bytes]:
    """The content cut off, one byte changed, and its end twice, at shares of its length."""
    for share in places:
        place = min(int(share * len(content)), max(len(content) - 1, 0))
        yield content[:place]
        yield content[:place] + bytes([content[place] ^ 0x5A]) + content[place + 1 :]
        yield content[:place] + content[place:] + content[place:]
