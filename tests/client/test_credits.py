from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from chronosdb.client.credits import Credits, Line
from chronosdb.wire.errors import ProtocolError

CAPACITY = 8


class Node:
    """A node, as it knows its credits. What is granted or asked back reaches it at once."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.attached = False
        self.credits = 0


class Flow(RuleBasedStateMachine):
    """Nodes that send what they may, an application that settles as it likes, nodes that come and go."""

    nodes = Bundle[Node]("nodes")

    def __init__(self) -> None:
        super().__init__()
        self.credits = Credits(CAPACITY)
        self.there: list[Node] = []
        #: Lines with events in the application's hands, also of nodes that are gone.
        self.holding: list[Line] = []

    @rule(target=nodes)
    def come(self) -> Node:
        node = Node(self.credits.add())
        self.there.append(node)
        return node

    @rule(node=consumes(nodes))
    def go(self, node: Node) -> None:
        self.credits.remove(node.line)
        self.there.remove(node)
        self.level()

    @rule(node=nodes)
    def attach_or_detach(self, node: Node) -> None:
        node.attached = not node.attached
        if node.attached:
            node.credits = self.credits.attach(node.line)
        else:
            self.credits.detach(node.line)
            node.credits = 0
        self.level()

    @rule(node=nodes, data=st.data())
    def receive(self, node: Node, data: st.DataObject) -> None:
        count = data.draw(st.integers(0, node.credits))
        self.credits.receive(node.line, count)
        node.credits -= count

    @rule(node=nodes, data=st.data())
    def hand_out(self, node: Node, data: st.DataObject) -> None:
        self.credits.hand_out(node.line, data.draw(st.integers(0, node.line.buffered)))
        if node.line not in self.holding:
            self.holding.append(node.line)
        self.level()

    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        if self.holding:
            line = data.draw(st.sampled_from(self.holding))
            self.credits.settle(line, data.draw(st.integers(0, line.held)))
            self.level()

    @rule()
    def take_turns(self) -> None:
        self.credits.turn()
        self.level()

    def level(self) -> None:
        """What a membership does whenever something has changed."""
        for node in self.there:
            count = self.credits.excess(node.line)
            self.credits.recalled(node.line, count)
            node.credits -= count
        for node in self.there:
            if node.attached:
                node.credits += self.credits.give_back(node.line)

    @invariant()
    def no_credit_is_made_or_lost(self) -> None:
        its = self.credits
        assert its.granted + its.buffered + its.held + its.spare == its.capacity
        assert its.held == sum(line.held for line in {id(x): x for x in self.holding}.values())
        assert its.granted == sum(node.credits for node in self.there)
        assert min(its.granted, its.buffered, its.held, its.spare) >= 0

    @invariant()
    def shares_are_equal_and_all_there_is(self) -> None:
        shares = [self.credits.share(node.line) for node in self.there]
        if shares:
            assert sum(shares) == CAPACITY - self.credits.held
            assert max(shares) - min(shares) <= 1

    @invariant()
    def every_node_has_its_share_unless_the_application_has_a_choice(self) -> None:
        if self.credits.buffered or not all(node.attached for node in self.there):
            return
        for node in self.there:
            assert node.line.granted == self.credits.share(node.line)

    @invariant()
    def one_node_has_all_that_is_not_in_use(self) -> None:
        if len(self.there) == 1 and self.there[0].attached and not self.credits.buffered:
            assert self.credits.granted == CAPACITY - self.credits.held


TestFlow = Flow.TestCase
TestFlow.settings = settings(max_examples=40, stateful_step_count=40)


def attached(credits_: Credits) -> Line:
    line = credits_.add()
    credits_.attach(line)
    return line


def test_more_events_than_credits_break_the_protocol() -> None:
    credits_ = Credits(3)
    with pytest.raises(ProtocolError, match="sent 4 events; it had 3 credits"):
        credits_.receive(attached(credits_), 4)


def test_more_credits_than_there_are_cannot_come_back() -> None:
    credits_ = Credits(3)
    with pytest.raises(ProtocolError, match="returned 4 credits; it had 3"):
        credits_.recalled(attached(credits_), 4)


def test_credits_go_back_by_halves_while_there_is_work() -> None:
    """So that the node sends batches, not single events."""
    credits_ = Credits(8)
    line = attached(credits_)
    credits_.receive(line, 8)
    credits_.hand_out(line, 7)
    given = []
    for _ in range(7):
        credits_.settle(line, 1)
        given.append(credits_.give_back(line))
    assert given == [0, 0, 0, 4, 0, 0, 0]


def test_credits_go_back_at_once_when_nothing_is_buffered() -> None:
    """An application with many events in hand and an empty buffer would starve otherwise."""
    credits_ = Credits(8)
    line = attached(credits_)
    credits_.receive(line, 8)
    credits_.hand_out(line, 8)
    credits_.settle(line, 1)
    assert credits_.give_back(line) == 1


def test_a_node_with_nothing_left_gets_credits_although_others_keep_the_buffer_full() -> None:
    credits_ = Credits(16)
    busy, empty = credits_.add(), credits_.add()
    for line in (busy, empty):
        credits_.attach(line)
        credits_.receive(line, 8)
    credits_.hand_out(empty, 8)
    credits_.settle(empty, 1)
    assert credits_.give_back(empty) == 1


def test_a_node_that_comes_gets_its_share_from_those_that_have_more() -> None:
    credits_ = Credits(9)
    first = attached(credits_)
    second = attached(credits_)
    assert (credits_.excess(first), second.granted) == (5, 0)
    credits_.recalled(first, 5)
    assert credits_.give_back(second) == 5


def test_fewer_credits_than_nodes_are_handed_round() -> None:
    """Each has one in its turn, and nobody has one out of turn."""
    credits_ = Credits(1)
    lines = [credits_.add() for _ in range(3)]
    assert credits_.scarce
    seen = set()
    for _ in range(3):
        for line in lines:
            credits_.recalled(line, credits_.excess(line))
        given = [credits_.give_back(line) for line in lines]
        seen.add(given.index(1))
        credits_.turn()
    assert seen == {0, 1, 2}


def test_a_node_whose_events_the_application_keeps_gets_its_part_of_the_rest() -> None:
    credits_ = Credits(9)
    lines = [credits_.add() for _ in range(3)]
    for line in lines:
        credits_.attach(line)
    credits_.receive(lines[0], 3)
    starved = [credits_.starved]
    credits_.hand_out(lines[0], 3)
    starved.append(credits_.starved)
    for line in lines:
        credits_.recalled(line, credits_.excess(line))
    assert [credits_.give_back(line) for line in lines] == [2, 0, 0]
    starved.append(credits_.starved)
    assert starved == [False, True, False]


def test_what_a_lost_node_sent_is_missing_for_all_the_others_alike() -> None:
    """The application holds it for as long as it likes."""
    credits_ = Credits(4)
    gone, first, second = (credits_.add() for _ in range(3))
    credits_.attach(gone)
    credits_.receive(gone, gone.granted)
    credits_.hand_out(gone, gone.buffered)
    credits_.remove(gone)
    shares = sorted([credits_.share(first), credits_.share(second)])
    assert (credits_.held, shares) == (1, [1, 2])


def test_the_credits_that_are_left_are_handed_round() -> None:
    """There were enough, until the application kept some."""
    credits_ = Credits(3)
    lines = [credits_.add() for _ in range(3)]
    for line in lines:
        credits_.attach(line)
    scarce = [credits_.scarce]
    for line in lines[:2]:
        credits_.receive(line, 1)
        credits_.hand_out(line, 1)
    scarce.append(credits_.scarce)
    assert scarce == [False, True]
    seen = set[int]()
    for _ in range(3):
        for line in lines:
            credits_.recalled(line, credits_.excess(line))
        for line in lines:
            credits_.give_back(line)
        assert (credits_.granted, credits_.starved) == (1, True)
        seen |= {place for place, line in enumerate(lines) if line.granted}
        credits_.turn()
    assert seen == {0, 1, 2}
