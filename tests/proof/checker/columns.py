"""Tables of whole numbers, grown row by row, then read as numpy columns: 8 bytes a cell."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

Int64s: TypeAlias = npt.NDArray[np.int64]
Mask: TypeAlias = npt.NDArray[np.bool_]

#: In the place of a number that is not known, or was not given.
NONE: Final = -(2**63)
#: After everything.
NEVER: Final = 2**63 - 1


class Table:
    """Columns of one length."""

    def __init__(self, *names: str) -> None:
        self._columns = {name: array("q") for name in names}
        self._numpy: dict[str, Int64s] = {}

    def add(self, rows: int, **values: int | Sequence[int]) -> None:
        """Append `rows` rows; a single value is that of all of them."""
        for name, column in self._columns.items():
            value = values[name]
            if isinstance(value, int):
                column.extend(array("q", (value,)) * rows)
            else:
                assert len(value) == rows, f"{len(value)} values of {name} in {rows} rows"
                column.extend(value)

    def __len__(self) -> int:
        return len(next(iter(self._columns.values())))

    def __getitem__(self, name: str) -> Int64s:
        """A column. The table grows no more."""
        if name not in self._numpy:
            self._numpy[name] = np.frombuffer(self._columns[name], dtype=np.int64)
        return self._numpy[name]

    def where(self, mask: Mask | Int64s) -> Rows:
        """Some of the rows."""
        return Rows({name: self[name][mask] for name in self._columns})

    def none(self) -> Rows:
        """No rows, with these columns."""
        return self.where(np.zeros(0, dtype=np.int64))

    def all(self) -> Rows:
        """All of the rows."""
        return Rows({name: self[name] for name in self._columns})


class Rows:
    """A selection of a table's rows, as columns."""

    def __init__(self, columns: dict[str, Int64s]) -> None:
        self._columns = columns

    def __len__(self) -> int:
        return len(next(iter(self._columns.values())))

    def __getitem__(self, name: str) -> Int64s:
        return self._columns[name]

    def where(self, mask: Mask | Int64s) -> Rows:
        """Some of these rows, or all of them in another order."""
        return Rows({name: column[mask] for name, column in self._columns.items()})

    def joined(self, others: Iterable[Rows]) -> Rows:
        """These rows, and others of the same columns behind them."""
        parts = [self, *others]
        return Rows(
            {name: np.concatenate([part[name] for part in parts]) for name in self._columns}
        )

    def by(self, name: str) -> dict[int, Rows]:
        """The rows of each value of a column, in their order."""
        column = self._columns[name]
        order = np.argsort(column, kind="stable")
        values, starts = np.unique(column[order], return_index=True)
        parts = np.split(order, starts)[1:]
        return {int(value): self.where(part) for value, part in zip(values, parts, strict=True)}


def numbers(values: Iterable[int | None]) -> list[int]:
    """A column in which some are not given."""
    return [NONE if value is None else value for value in values]


def mixed(*columns: Int64s) -> Int64s:
    """One number for each row that stands for all of its columns: equal rows give equal numbers."""
    total = np.zeros(len(columns[0]), dtype=np.uint64)
    for column in columns:
        total = (total ^ column.view(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        total ^= total >> np.uint64(29)
    return total.view(np.int64)


def positions_of(starts: Int64s, stops: Int64s) -> tuple[Int64s, Int64s]:
    """All numbers of half-open runs, and of which run each is."""
    lengths = stops - starts
    which = np.repeat(np.arange(len(starts)), lengths)
    firsts = np.cumsum(lengths) - lengths
    inside = np.arange(int(lengths.sum())) - np.repeat(firsts, lengths)
    return np.repeat(starts, lengths) + inside, which
