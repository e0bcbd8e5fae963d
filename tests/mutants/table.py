"""The seeded bugs: tables of small exact patches, each with the check that must notice it.

A bug is one piece of a product file in other words. Where the piece is no longer found exactly once,
the table is out of date, and that is an error: a patch that does not apply proves nothing.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[2]
TABLES = Path(__file__).parent
PRODUCT = ("client/", "node/", "raft/", "sched/", "wal/")
#: Of the design: I1 … I17 its promises, §n a chapter that promises more.
PROMISE = re.compile("I([1-9]|1[0-7])|§[1-9]|§1[01]")
BUDGET_MAX_S = 60


class TableError(Exception):
    """The table and the product no longer fit; the message names the mutant."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One seeded bug."""

    name: str
    #: What goes wrong, in a sentence.
    bug: str
    #: The promise that it breaks.
    promise: str
    #: The product's file, relative to the root.
    file: str
    old: str
    new: str
    #: What pytest is asked for: the cheapest selection that must fail.
    check: str
    #: How long that may take, in seconds.
    budget_s: int

    @classmethod
    def of_row(cls, name: str, row: dict[str, Any]) -> Self:
        """The mutant of a table's row.

        Raises:
            TableError: a field is missing, unknown or out of bounds.
        """
        known = {field.name for field in fields(cls)} - {"name"}
        if row.keys() != known:
            raise TableError(f"{name}: it has {sorted(row)}, it must have {sorted(known)}")
        mutant = cls(name, **row)
        if not PROMISE.fullmatch(mutant.promise):
            raise TableError(f"{name}: {mutant.promise!r} is no promise of the design")
        if not mutant.file.startswith(PRODUCT):
            raise TableError(f"{name}: {mutant.file} is no file of the product")
        if not 0 < mutant.budget_s <= BUDGET_MAX_S:
            raise TableError(f"{name}: its budget must be from 1 to {BUDGET_MAX_S} seconds")
        return mutant

    @property
    def selection(self) -> tuple[str, ...]:
        """`check` as arguments."""
        return tuple(shlex.split(self.check))

    def mutated(self, root: Path) -> str:
        """The file with the bug, as it would read under `root`.

        Raises:
            TableError: `old` is not in it exactly once, or the result is no Python.
        """
        path = root / self.file
        if not path.exists():
            raise TableError(f"{self.name}: there is no {self.file}")
        text = path.read_text()
        found = text.count(self.old)
        if found != 1:
            raise TableError(f"{self.name}: its old text is {found} times in {self.file}, not once")
        mutated = text.replace(self.old, self.new)
        try:
            compile(mutated, self.file, "exec")
        except SyntaxError as error:
            raise TableError(f"{self.name}: its new text is no Python: {error}") from error
        if mutated == text:
            raise TableError(f"{self.name}: its new text is its old one")
        return mutated


def read_table(path: Path) -> list[Mutant]:
    """The mutants of one table; raises as `Mutant.of_row`."""
    rows = tomllib.loads(path.read_text())
    return [Mutant.of_row(name, row) for name, row in rows.items()]


def all_mutants() -> list[Mutant]:
    """Every mutant of every table.

    Raises:
        TableError: a row is wrong, or two have one name.
    """
    mutants = [mutant for path in sorted(TABLES.glob("*.toml")) for mutant in read_table(path)]
    names = [mutant.name for mutant in mutants]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise TableError(f"names that are taken twice: {', '.join(sorted(twice))}")
    return mutants
