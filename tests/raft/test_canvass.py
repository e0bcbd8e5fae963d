"""Pre-vote: who may begin an election, and who says no."""

from __future__ import annotations

import pytest

from chronosdb.raft.canvass import Canvass, answer
from chronosdb.raft.messages import check

VOTERS = ("a", "b", "c", "d", "e")


def test_a_majority_of_the_voters_wins_it() -> None:
    """Oneself counts; others' answers count once, and those of non-voters not at all."""
    canvass = Canvass()
    question = canvass.begin("a", 5, (10, 4))
    check(question)
    yes = answer(question, 4, (10, 4), leader_is_heard=False)
    check(yes)
    assert not canvass.is_won("b", yes, VOTERS)
    assert not canvass.is_won("b", yes, VOTERS)
    assert not canvass.is_won("stranger", yes, VOTERS)
    assert canvass.is_won("c", yes, VOTERS)


@pytest.mark.parametrize(
    ("term", "last", "heard", "granted"),
    [
        (4, (10, 4), False, True),
        (4, (9, 4), False, True),
        (4, (99, 3), False, True),
        (4, (11, 4), False, False),
        (4, (1, 5), False, False),
        (4, (10, 4), True, False),
        (5, (10, 4), False, False),
    ],
)
def test_who_would_not_vote_says_no(
    term: int, last: tuple[int, int], heard: bool, granted: bool
) -> None:
    """Its log is behind ours, its term is old, or there is a leader."""
    question = Canvass().begin("a", 5, (10, 4))
    assert answer(question, term, last, leader_is_heard=heard)["granted"] is granted


def test_answers_to_another_question_do_not_count() -> None:
    """Of an earlier term, or after it was given up."""
    canvass = Canvass()
    old = answer(canvass.begin("a", 5, (10, 4)), 4, (10, 4), leader_is_heard=False)
    new = answer(canvass.begin("a", 6, (10, 4)), 4, (10, 4), leader_is_heard=False)
    assert not canvass.is_won("b", old, ("a", "b"))
    canvass.end()
    assert not canvass.is_won("b", new, ("a", "b"))
