"""Folders that tests read: the repository, its goldens, and what is not in it."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GOLDENS = ROOT / "tests" / "reference" / "golden"  # copies of some of GOLDEN
# Not in the repository; tests that need them are skipped where they are missing.
SHARED = ROOT.parent / "shared"
GOLDEN = SHARED / "golden"
ANCHORS = SHARED / "anchors"
