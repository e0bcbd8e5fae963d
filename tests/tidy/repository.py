"""Where things are in this repository, for the tests that read it."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SOURCE_FOLDERS = ("client", "node", "raft", "sched", "wal")
PACKAGES = (
    "client/chronosdb/client",
    "client/chronosdb/wire",
    "node/chronosdb/node",
    "node/chronosdb/testing",
    "raft/chronosdb/raft",
    "sched/chronosdb/sched",
    "wal/chronosdb/wal",
)


def python_files(*folders: str) -> list[str]:
    """Every Python file in these folders, relative to the root."""
    paths = (path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return sorted(str(path.relative_to(ROOT)) for path in paths)


SOURCES = python_files(*SOURCE_FOLDERS)
EVERYTHING = python_files(*SOURCE_FOLDERS, "tests", "bench")


def read(path: str) -> str:
    """A file of the repository."""
    return (ROOT / path).read_text()


@cache
def pyproject() -> dict[str, Any]:
    """pyproject.toml."""
    return tomllib.loads(read("pyproject.toml"))


def requirement_name(requirement: str) -> str:
    """The normal name in a requirement: pysyncobj in PySyncObj==0.3.17."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found is not None
    return found[0].lower()
