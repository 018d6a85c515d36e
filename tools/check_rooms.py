"""Checks the imports of flaxrec/ against the order of rooms in docs/architecture.md.

python tools/check_rooms.py [--root=DIR] [--count]

A room is a module or folder directly in flaxrec/. The table in docs/architecture.md names each room
once, in order. A room imports only rooms above it, anywhere in its files. The package itself
(flaxrec/__init__.py) is no room: it holds the version and exports names.

Prints each problem as one line, FILE:LINE: what, remedy, and exits with status 1 if there is one.
`--count` checks nothing and prints the numbers of rooms, arrows between them, circles and lines of
Python that are not blank.
"""

import argparse
import ast
import graphlib
import re
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

PACKAGE = "flaxrec"
PAGE = "docs/architecture.md"
MOST_ROOMS = 30
COUNTED = ("flaxrec", "tools", "benchmarks", "docs")
TENSORFLOW = ("tensorflow", "jax.experimental.jax2tf")
# What the Recommender may need (flatbuffers comes with ai_edge_litert), and tflite/ must not.
RECOMMENDER_NEEDS = {PACKAGE, "numpy", "ai_edge_litert", "flatbuffers"} | sys.stdlib_module_names
UNKNOWN_TO_TFLITE = {"jax", "jaxlib", "flax", "tensorflow", "polars"}


class Import(NamedTuple):
    """One imported module.

    Attributes:
      place: 'FILE:LINE', relative to the root.
      module: the dotted name; of a name in a module of the package, that module.
      later: in a function or for types only, and so not when its own module is imported.
    """

    place: str
    module: str
    later: bool


Imports = dict[str, list[Import]]  # by the dotted name of the module that imports


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[1])
    parser.add_argument("--count", action="store_true", help="count and check nothing")
    options = parser.parse_args(arguments)
    imports = read_imports(options.root)
    if options.count:
        arrows = arrows_of(imports)
        print(
            f"{len(rooms_of(imports))} rooms, {len(arrows)} arrows, {len(circles(arrows))} circles"
        )
        print(f"{count_lines(options.root):,} lines")
        return 0
    problems = [
        *order_problems(options.root, imports),
        *tensorflow_problems(options.root, imports),
        *needs_problems(imports),
    ]
    print(*problems, sep="\n", end="\n" if problems else "")
    return 1 if problems else 0


# ---- what is there --------------------------------------------------------------------------


def read_imports(root: Path) -> Imports:
    """What every module of the package imports; `a.b`, not its `__init__`, names a folder."""
    files = {}
    for file in sorted((root / PACKAGE).rglob("*.py")):
        name = ".".join(file.relative_to(root).with_suffix("").parts)
        files[name.removesuffix(".__init__")] = file
    return {name: list(imports_of(root, file, files)) for name, file in files.items()}


def imports_of(root: Path, file: Path, modules: Collection[str] = ()) -> Iterator[Import]:
    """The imports of a file; `modules` are those of the package."""
    tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    bodies = (ast.walk(n) for n in ast.walk(tree) if isinstance(n, functions) or _is_for_types(n))
    later = {id(node) for body in bodies for node in body}
    folders = [PACKAGE, *file.relative_to(root / PACKAGE).parts[:-1]] if modules else []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = folders[: len(folders) - node.level + 1] if node.level else []
            origin = ".".join([*start, *filter(None, [node.module])])
            full = [f"{origin}.{alias.name}" for alias in node.names]
            names = [origin if origin in modules and name not in modules else name for name in full]
        else:
            continue
        place = f"{file.relative_to(root)}:{node.lineno}"
        yield from (Import(place, name, id(node) in later) for name in names)


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def room_of(module: str) -> str:
    """The room of a module of the package; '' of the package itself."""
    return [*module.split("."), ""][1]


def rooms_of(imports: Imports) -> set[str]:
    return {room_of(module) for module in imports} - {""}


def is_in(module: str, names: Sequence[str]) -> bool:
    return any(f"{module}.".startswith(f"{name}.") for name in names)


def arrows_of(imports: Imports) -> dict[tuple[str, str], Import]:
    """(importing room, imported room) -> the first import between them."""
    arrows: dict[tuple[str, str], Import] = {}
    for module, found in imports.items():
        for one in found:
            arrow = room_of(module), room_of(one.module)
            if is_in(one.module, [PACKAGE]) and arrow[0] != arrow[1]:
                arrows.setdefault(arrow, one)
    return arrows


def circles(arrows: dict[tuple[str, str], Import]) -> list[list[str]]:
    """Rooms that import one another in a circle, the first one repeated at the end."""
    left = sorted((start, end) for start, end in arrows if start and end)
    found: list[list[str]] = []
    while True:
        graph: dict[str, list[str]] = {}
        for start, end in left:
            graph.setdefault(start, []).append(end)
        try:
            graphlib.TopologicalSorter(graph).prepare()
            return found
        except graphlib.CycleError as error:
            circle = error.args[1][::-1]
            found.append(circle)
            left.remove((circle[0], circle[1]))


def needed(imports: Imports, starts: Sequence[str]) -> list[Import]:
    """All imports of these modules and of what they import from the package, as far as it goes.

    Importing a module runs the packages around it too, but none of their functions.
    """
    found: list[Import] = []
    seen: set[tuple[str, bool]] = set()
    waiting = [(module, True) for module in starts]
    while waiting:
        module, whole = waiting.pop()
        if (module, whole) in seen or module not in imports:
            continue
        seen.add((module, whole))
        waiting.append((module.rpartition(".")[0], False))
        for one in imports[module]:
            if whole or not one.later:
                found.append(one)
                waiting.append((one.module, one.module != PACKAGE))
    return found


def count_lines(root: Path) -> int:
    """Lines of Python that are not blank."""
    files = [file for folder in COUNTED for file in (root / folder).rglob("*.py")]
    texts = [file.read_text(encoding="utf-8") for file in files]
    return sum(bool(line.strip()) for text in texts for line in text.splitlines())


# ---- what is wrong --------------------------------------------------------------------------


def read_table(root: Path) -> list[tuple[str, int]]:
    """(room, line) of the table, in its order."""
    lines = (root / PAGE).read_text(encoding="utf-8").splitlines()
    heads = [n for n, line in enumerate(lines, 1) if re.match(r"\| *room *\|", line)]
    if len(heads) != 1:
        sys.exit(f"{PAGE}:1: {len(heads)} tables begin with '| room |'; keep one, a line a room.")
    rows: list[tuple[str, int]] = []
    for number, line in enumerate(lines[heads[0] + 1 :], heads[0] + 2):
        match = re.match(r"\| *`(\w+)/?` *\|", line)
        if not match:
            break
        rows.append((match[1], number))
    return rows


def order_problems(root: Path, imports: Imports) -> Iterator[str]:
    """A table that is not the tree's, circles, imports of a room further down."""
    rows, rooms, arrows = read_table(root), rooms_of(imports), arrows_of(imports)
    last = rows[-1][1] if rows else 1
    places: dict[str, int] = {}
    for place, (room, line) in enumerate(rows):
        if room in places:
            yield f"{PAGE}:{line}: room {room} stands in the table twice; leave one line."
        elif room not in rooms:
            yield f"{PAGE}:{line}: there is no {PACKAGE}/{room}; take the line out of the table."
        places.setdefault(room, place)
    for room in sorted(rooms - set(places)):
        yield f"{PAGE}:{last}: room {room} is missing in the table; add it where it belongs."
    if len(rooms) > MOST_ROOMS:
        yield f"{PAGE}:{last}: {len(rooms)} rooms are more than {MOST_ROOMS}; join some."
    for circle in circles(arrows):
        way = " -> ".join(circle)
        yield f"{arrows[circle[0], circle[1]].place}: rooms import in a circle ({way}); break it."
    for module, found in imports.items():
        for one in found:
            start, end = room_of(module), room_of(one.module)
            known = is_in(one.module, [PACKAGE]) and start in places and end in places
            if known and places[start] < places[end]:
                yield (
                    f"{one.place}: {start} imports {end}, which stands further down in {PAGE}; "
                    "move what both need up, or hand it in as an argument."
                )


def tensorflow_problems(root: Path, imports: Imports) -> Iterator[str]:
    """TensorFlow imported before it is needed."""
    scripts = [one for file in sorted(root.glob("*.py")) for one in imports_of(root, file)]
    for one in [*(one for found in imports.values() for one in found), *scripts]:
        if not one.later and is_in(one.module, TENSORFLOW):
            yield f"{one.place}: {one.module} is imported at module level; do it in a function."


def needs_problems(imports: Imports) -> Iterator[str]:
    """What the Recommender and tflite/ may not need, in them or in what they import."""
    for room in ("recommender", "tflite"):
        for one in needed(imports, [module for module in imports if room_of(module) == room]):
            library = one.module.split(".")[0]
            known = library not in UNKNOWN_TO_TFLITE
            if not (known if room == "tflite" else library in RECOMMENDER_NEEDS):
                yield (
                    f"{one.place}: {room} needs this file, which imports {one.module}; move the "
                    "import into a module that it does not need."
                )


if __name__ == "__main__":
    sys.exit(main())
