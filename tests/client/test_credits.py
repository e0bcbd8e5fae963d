from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chronosdb.client.credits import Credits
from chronosdb.wire.errors import ProtocolError


class Flow(RuleBasedStateMachine):
    """A node that sends all it may, an application that settles as it likes, lost connections."""

    def __init__(self) -> None:
        super().__init__()
        self.credits = Credits(8)
        self.node = 0
        self.attached = False

    @precondition(lambda self: not self.attached)
    @rule()
    def attach(self) -> None:
        self.node = self.credits.attach()
        self.attached = True

    @precondition(lambda self: self.attached)
    @rule()
    def detach(self) -> None:
        self.credits.detach()
        self.node = 0
        self.attached = False

    @precondition(lambda self: self.node)
    @rule(data=st.data())
    def receive(self, data: st.DataObject) -> None:
        count = data.draw(st.integers(1, self.node))
        self.credits.receive(count)
        self.node -= count

    @precondition(lambda self: self.credits.buffered)
    @rule(data=st.data())
    def hand_out(self, data: st.DataObject) -> None:
        self.credits.hand_out(data.draw(st.integers(1, self.credits.buffered)))
        if self.attached:
            self.node += self.credits.give_back()

    @precondition(lambda self: self.credits.held)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        self.credits.settle(data.draw(st.integers(1, self.credits.held)))
        if self.attached:
            self.node += self.credits.give_back()

    @invariant()
    def every_credit_is_somewhere(self) -> None:
        its = self.credits
        assert min(its.granted, its.buffered, its.held, its.settled) >= 0
        assert its.buffered + its.held <= its.capacity
        if self.attached:
            assert its.granted == self.node
            assert its.granted + its.buffered + its.held + its.settled == its.capacity

    @invariant()
    def the_node_is_never_left_without_credits_for_no_reason(self) -> None:
        its = self.credits
        if self.attached and not its.buffered:
            assert its.granted == its.capacity - its.held


TestFlow = Flow.TestCase


def test_more_events_than_credits_break_the_protocol() -> None:
    credits_ = Credits(3)
    credits_.attach()
    with pytest.raises(ProtocolError, match="sent 4 events; it had 3 credits"):
        credits_.receive(4)


def test_credits_go_back_by_halves_while_there_is_work() -> None:
    """So that the node sends batches, not single events."""
    credits_ = Credits(8)
    credits_.receive(credits_.attach())
    credits_.hand_out(7)
    given = []
    for _ in range(7):
        credits_.settle(1)
        given.append(credits_.give_back())
    assert given == [0, 0, 0, 4, 0, 0, 0]


def test_credits_go_back_at_once_when_nothing_is_buffered() -> None:
    """An application with many events in hand and an empty buffer would starve otherwise."""
    credits_ = Credits(8)
    credits_.receive(credits_.attach())
    credits_.hand_out(8)
    credits_.settle(1)
    assert credits_.give_back() == 1
