"""No order of events loses what is committed; without any one of the rules, some order does."""

from __future__ import annotations

from typing import Final

import pytest

from tests.replication.model import RULES, Lost, run

_STEPS = 60


def test_what_is_committed_is_in_the_log_of_every_later_leader() -> None:
    """Over random lives of two to five replicas; most of them commit something."""
    lives = [run(seed, _STEPS) for seed in range(1500)]
    assert sum(len(model.committed) for model in lives) > 3000
    assert sum(model.epoch for model in lives) > 3000


#: The first life in which each rule is missed; if the model or the rules change, it is looked for from there.
_MISSED_FROM: Final = {
    "followers refuse older epochs once they have promised": 38,
    "an election hears of every quorum": 1,
    "the longest log of the newest epoch wins": 0,
    "a leader counts what is synced, not what is written": 19,
    "a leader counts only with a record of its own epoch": 10,
    "both ISRs count while a change of it is undecided": 57,
    "nobody leaves the ISR unless the rest has what is committed": 2482,
    "nobody enters the ISR before it has what is committed": 13087,
    "a follower cuts back what its leader does not have": 43,
    "an election leaves the ISR as it was": 434,
}


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_needed(rule: str) -> None:
    """Broken, it loses a committed record before long."""
    with pytest.raises(Lost):
        _live(rule, _MISSED_FROM[rule])


def _live(rule: str, first: int) -> None:
    for seed in range(first, first + 20_000):
        run(seed, _STEPS, broken=rule)
