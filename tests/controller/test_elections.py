"""Whoever is elected has everything that was ever committed, whatever happened to whom."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chronosdb.node.controller.elections import Standing, winner
from chronosdb.node.replication.quorum import quorum

NODES = ("a", "b", "c", "d", "e")


class Model:
    """One partition on several nodes: their logs, who leads, and what was committed."""

    def __init__(self, isr: tuple[str, ...]) -> None:
        self.isr = isr
        #: By node: the epoch under which each record was written.
        self.logs: dict[str, list[int]] = {node: [] for node in isr}
        self.promised = dict.fromkeys(isr, 0)
        self.leader, self.epoch = isr[0], 1
        self.committed: list[int] = []

    def append(self) -> None:
        """The leader writes, unless it knows that it is none any more."""
        if self.promised[self.leader] <= self.epoch:
            self.logs[self.leader].append(self.epoch)

    def replicate(self, node: str) -> None:
        """A follower takes all that the leader has, unless it has promised not to."""
        if max(self.promised[node], self.promised[self.leader]) <= self.epoch:
            self.logs[node] = list(self.logs[self.leader])
            self._commit()

    def _commit(self) -> None:
        ours = self.logs[self.leader]
        same = [node for node in self.isr if self.logs[node] == ours]
        # Only under its own epoch: an older record may yet be overruled.
        if len(same) >= quorum(len(self.isr)) and ours and ours[-1] == self.epoch:
            self.committed = list(ours)

    def elect(self, answering: frozenset[str], fit: list[str]) -> None:
        standings = {}
        for node in answering & set(self.isr):
            self.promised[node] = self.epoch + 1
            log = self.logs[node]
            standings[node] = Standing(log[-1] if log else 0, len(log))
        leader = winner(self.isr, standings, fit)
        if leader is not None:
            self.leader, self.epoch = leader, self.epoch + 1
            # What it begins with: the record of its own epoch.
            self.logs[leader].append(self.epoch)


_steps = st.one_of(
    st.just(("append",)),
    st.tuples(st.just("replicate"), st.sampled_from(NODES)),
    st.tuples(st.just("elect"), st.frozensets(st.sampled_from(NODES)), st.permutations(NODES)),
)


@given(st.integers(1, 5), st.lists(_steps, max_size=40), st.integers(1, 5))
@settings(max_examples=150, deadline=None)
def test_what_was_committed_is_with_every_leader(
    size: int, steps: list[tuple[object, ...]], fit: int
) -> None:
    """Also if only few of those who answer may lead, whoever is preferred."""
    model = Model(NODES[:size])
    for step in steps:
        match step:
            case ("append",):
                model.append()
            case ("replicate", str(node)) if node in model.isr:
                model.replicate(node)
            case ("elect", frozenset() as answering, list() as order):
                model.elect(answering, order[:fit])
        ours = model.logs[model.leader]
        assert ours[: len(model.committed)] == model.committed


def test_enough_must_answer() -> None:
    """So many that no quorum can be without all of them."""
    level = Standing(3, 100)
    for size, enough in ((1, 1), (2, 1), (3, 2), (4, 2), (5, 3)):
        isr = NODES[:size]
        for answers in range(size + 1):
            standings = dict.fromkeys(isr[:answers], level)
            assert (winner(isr, standings, isr) is not None) == (answers >= enough)


def test_the_preferred_one_of_equals_leads() -> None:
    """And a newer epoch counts more than a longer log."""
    standings = {"a": Standing(3, 100), "b": Standing(3, 100), "c": Standing(2, 900)}
    assert winner(("a", "b", "c"), standings, ("b", "a")) == "b"
    assert winner(("a", "b", "c"), standings, ("c", "a")) == "a"


@pytest.mark.parametrize(("fit", "leader"), [(("b", "c"), "b"), (("c",), None), ((), None)])
def test_who_has_most_but_may_not_lead_can_be_done_without(
    fit: tuple[str, ...], leader: str | None
) -> None:
    """If all answer: then what only one has was not committed."""
    standings = {"a": Standing(3, 100), "b": Standing(3, 90), "c": Standing(3, 80)}
    assert winner(("a", "b", "c"), standings, fit) == leader


def test_a_long_log_that_was_overruled_is_not_enough() -> None:
    """However few of the others may lead: what it lacks was committed after it."""
    standings = {"a": Standing(1, 900), "b": Standing(2, 100), "c": Standing(2, 100)}
    assert winner(("a", "b", "c"), standings, ("a",)) is None
    assert winner(("a", "b", "c"), standings, ("a", "c")) == "c"


def test_who_is_not_in_sync_has_no_say() -> None:
    """However long its log is."""
    assert winner(("a",), {"b": Standing(9, 900)}, ("a", "b")) is None
    assert winner(("a",), {"a": Standing(1, 0), "b": Standing(9, 900)}, ("b", "a")) == "a"
