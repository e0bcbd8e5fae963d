"""No hot path becomes a fifth dearer unnoticed."""

from __future__ import annotations

import sys

import pytest

from tests.budget.counting import Instructions
from tests.budget.paths import PATHS, instructions
from tests.budget.table import TOLERANCE, as_table, budgets, documented

pinned = pytest.mark.skipif(
    sys.implementation.name != "cpython" or sys.version_info[:2] != (3, 11),
    reason="the budgets are in instructions of CPython 3.11; others have others",
)


@pinned
@pytest.mark.slow
@pytest.mark.parametrize("name", PATHS)
def test_a_hot_path_costs_what_its_budget_says(name: str) -> None:
    """Much less is news too: the budget follows, or the next one to make it dearer goes unnoticed."""
    spent, budget = sum(instructions(name).values()), sum(budgets()[name].values())
    assert spent <= budget * (1 + TOLERANCE), "dearer: mend it, or say why it must be so"
    assert spent >= budget * (1 - TOLERANCE), "cheaper: python -m tests.budget --write"


def test_the_document_shows_the_budgets() -> None:
    assert list(budgets()) == list(PATHS)
    assert documented() == as_table(budgets())


def test_one_more_turn_of_a_loop_is_counted() -> None:
    """A counter that stood still would let everything pass."""

    def loop(turns: int) -> None:
        for _ in range(turns):
            pass

    counted = []
    for turns in (10, 20, 30):
        with Instructions() as instructions_:
            loop(turns)
        counted.append(sum(instructions_.everything().values()))
    assert counted[2] - counted[1] == counted[1] - counted[0] > 0
