"""Clock, disk, network, threads and chance enter through a handful of files, and only there."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import PurePath

import pytest

from tests.tidy.repository import EVERYTHING, SOURCES, pyproject, read

#: The files that may touch the outside world, and why.
SEAMS = {
    "client/chronosdb/client/seams.py": "the client's clock, randomness and network",
    "node/chronosdb/node/clock.py": "the node's clock",
    "node/chronosdb/node/environment.py": "the node's network and randomness",
    "node/chronosdb/node/threads.py": "the node's threads",
    "node/chronosdb/testing/chance.py": "the seeded chance of a test's world",
    "wal/chronosdb/wal/os_disk.py": "the disk",
}

BANNED = "TID251"
LINT = pyproject()["tool"]["ruff"]["lint"]


def excused_files() -> set[str]:
    """The source files in which ruff does not look for banned calls, wherever that is said."""
    by_comment = {path for path in SOURCES if re.search(rf"noqa:.*\b{BANNED}\b", read(path))}
    globs = [glob for glob, rules in LINT["per-file-ignores"].items() if BANNED in rules]
    by_config = {path for path in SOURCES for glob in globs if PurePath(path).match(glob)}
    return by_comment | by_config


def test_only_the_seams_are_excused() -> None:
    """No other file may call what is banned."""
    assert excused_files() - set(SEAMS) == set()


@pytest.mark.parametrize(
    "name",
    [
        *("time.time", "time.time_ns", "time.monotonic", "time.sleep", "datetime.datetime.now"),
        *("random", "os.urandom", "uuid", "os.fsync", "builtins.open"),
        *("socket", "threading", "trio.to_thread"),
        *("msgspec.json.decode", "msgspec.msgpack.decode", "msgspec.convert"),
    ],
)
def test_the_outside_world_is_banned(name: str) -> None:
    """Each way round the seams is on ruff's list, with the reason."""
    assert name in LINT["flake8-tidy-imports"]["banned-api"]


def test_nothing_is_silenced_wholesale() -> None:
    """A `noqa` names its rules."""
    blanket = re.compile(r"#\s*(ruff:\s*)?noqa(?!\s*:\s*[A-Z]+[0-9]+)", re.IGNORECASE)
    here = str(PurePath("tests/tidy/test_seams.py"))
    assert [path for path in EVERYTHING if path != here and blanket.search(read(path))] == []


def test_every_exception_for_source_files_is_explained() -> None:
    """In pyproject.toml a comment above each per-file ignore of a source file says why.

    Neighbours that ignore the same rules share it.
    """
    section = read("pyproject.toml").split("[tool.ruff.lint.per-file-ignores]\n")[1].split("\n[")[0]
    explained = ""
    bare = []
    for before, line in pairwise(["", *section.splitlines()]):
        rules = line.partition(" = ")[2]
        if before.startswith("#"):
            explained = rules
        if re.match(r'"(client|node|raft|sched|wal)/', line) and rules != explained:
            bare.append(line)
    assert bare == []
