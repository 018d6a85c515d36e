"""Executes docs/tutorial.ipynb from a clean kernel; run as a program, writes it anew.

    python -m tests.support.tutorial

A notebook that was executed names the hash of its code, so that a test sees whether the outputs
that are committed are those of the code that is.
"""

import hashlib
import os
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from tests.support.places import ROOT

NOTEBOOK = ROOT / "docs" / "tutorial.ipynb"
_TIMEOUT = 900  # seconds a cell, for a busy machine


def read() -> nbformat.NotebookNode:
    """The notebook as it is committed."""
    return nbformat.read(NOTEBOOK, as_version=4)


def code_hash(notebook: nbformat.NotebookNode) -> str:
    """SHA-256 of all code cells."""
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return hashlib.sha256("\0".join(sources).encode()).hexdigest()


def execute(notebook: nbformat.NotebookNode, folder: Path, **environment: str) -> None:
    """Runs every cell in a kernel of its own, in the folder; the outputs come into the notebook.

    Raises:
      CellExecutionError: a cell failed.
    """
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    client = NotebookClient(
        notebook,
        timeout=_TIMEOUT,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(env={**os.environ, **environment})


def clean(notebook: nbformat.NotebookNode) -> None:
    """Leaves what a reader needs: no traces of the machine, none of the progress on stderr."""
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
            "executed_code": code_hash(notebook),
        }
    )
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({})
        if cell.cell_type == "code":
            cell.outputs = [out for out in cell.outputs if out.get("name") != "stderr"]


def main() -> None:
    """Executes the notebook and writes it with its outputs."""
    notebook = read()
    with tempfile.TemporaryDirectory() as folder:
        execute(notebook, Path(folder))
    clean(notebook)
    nbformat.write(notebook, NOTEBOOK)


if __name__ == "__main__":
    main()
