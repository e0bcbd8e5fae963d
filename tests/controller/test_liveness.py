"""Silence, leases and clocks as figures, without anything that runs."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from chronosdb.node.controller.fitness import Fitness, judge
from chronosdb.node.controller.liveness import Liveness
from chronosdb.node.controller.messages import Heartbeat, Reading
from chronosdb.node.controller.skew import far_off
from chronosdb.node.controller.voting import next_voter
from chronosdb.raft import AdmitNode, BeginLife, ChangeVoters, ClusterView, SetNodeState
from chronosdb.raft.view import NodeState
from tests.raft.test_state import Machine

FENCE_S = 1.5


def beat(
    incarnation: int = 1, follows: str = "a", *, unanswered_ms: int = 0, resigns: bool = False
) -> Heartbeat:
    return Heartbeat(incarnation, follows, None, unanswered_ms, resigns, [])


def test_silence_counts_from_the_last_heartbeat() -> None:
    """Or from when this node took charge, for those it never heard."""
    liveness = Liveness(FENCE_S, 0.0)
    liveness.hear("a", beat(), 10.0)
    assert not liveness.is_silent("a", 11.5)
    assert liveness.is_silent("a", 11.51)
    assert liveness.is_silent("b", 11.0)
    liveness.took_charge(11.0)
    assert not liveness.is_silent("b", 12.5)
    assert liveness.is_silent("b", 12.51)
    assert liveness.is_silent("a", 12.0)
    liveness.forgive(20.0)
    assert not liveness.is_silent("a", 21.5)
    assert liveness.is_silent("a", 21.51)


def test_an_earlier_life_is_not_heard() -> None:
    """Its heartbeats may come late; a later life is a new beginning."""
    liveness = Liveness(FENCE_S, 0.0)
    liveness.hear("a", beat(2), 1.0)
    liveness.hear("a", beat(1), 2.0)
    last = liveness.last("a")
    assert last is not None
    assert (last.at_s, last.beat.incarnation) == (1.0, 2)
    liveness.hear("a", beat(2), 2.0)
    liveness.hear("a", beat(3), 2.5)
    last = liveness.last("a")
    assert last is not None
    assert (last.at_s, last.since_s) == (2.5, 2.5)


def test_a_lease_is_no_longer_than_a_majority_vouches_for() -> None:
    """Whoever follows another, or was last heard long ago, does not; forgiving is no vouching."""
    liveness = Liveness(FENCE_S, 0.0)
    voters = ("a", "b", "c")
    assert liveness.followed_until_s("a", voters, 1.0, 5.0) == float("-inf")
    liveness.hear("b", beat(), 4.0)
    assert liveness.followed_until_s("a", voters, 1.0, 5.0) == 5.0
    liveness.hear("c", beat(follows="b"), 4.9)
    liveness.forgive(4.9)
    assert liveness.followed_until_s("a", voters, 1.0, 5.0) == 5.0
    liveness.hear("c", beat(), 4.9)
    assert liveness.followed_until_s("a", voters, 1.0, 5.0) == 5.9
    assert liveness.followed_until_s("a", ("a",), 1.0, 5.0) == 6.0
    assert liveness.followed_until_s("d", ("a", "b"), 1.0, 5.0) == float("-inf")


@given(
    st.dictionaries(
        st.sampled_from("abcde"), st.tuples(st.integers(-9_000, 9_000), st.integers(0, 300))
    )
)
@settings(deadline=None)
def test_only_a_clock_that_is_surely_wrong_is_called_so(
    clocks: dict[str, tuple[int, int]],
) -> None:
    """Never all of them, never within the bound, and never for a slow network."""
    readings = {node: Reading(-ahead, error) for node, (ahead, error) in clocks.items()}
    off = far_off(readings, 500, ())
    assert not clocks or off.keys() < clocks.keys()
    for node, ms in off.items():
        assert abs(ms) > 500 + clocks[node][1]


def test_a_clock_is_right_again_only_surely() -> None:
    """At the bound a node does not go back and forth."""
    readings = {"a": Reading(0, 1), "b": Reading(0, 1), "c": Reading(-505, 10)}
    assert far_off(readings, 500, ()) == {}
    assert far_off(readings, 500, {"c"}) == {"c": 505}
    readings["c"] = Reading(-515, 10)
    assert far_off(readings, 500, ()) == {"c": 515}
    readings["c"] = Reading(-489, 10)
    assert far_off(readings, 500, {"c"}) == {}


def test_of_two_clocks_nobody_knows_which_is_wrong() -> None:
    """Of four, the two in the middle are right, and what is far from both is not."""
    assert far_off({"a": Reading(0, 1), "b": Reading(9_000, 1)}, 500, ()) == {}
    four = {"a": Reading(0, 1), "b": Reading(10, 1), "c": Reading(30, 1), "d": Reading(9_000, 1)}
    assert far_off(four, 500, ()) == {"d": -8_970}
    assert far_off({}, 500, ()) == {}


def _view(**states: str) -> ClusterView:
    machine = Machine()
    for node, state in states.items():
        machine.do(BeginLife(node, "h:1", 1))
        machine.do(SetNodeState(node, 1, state))
    return machine.state.view


def test_who_may_lead_is_heard_right_in_time_and_not_fenced() -> None:
    """Who is drained or resigns may go on where nobody else can, and is given nothing."""
    view = _view(a="alive", b="alive", c="fenced", d="draining", e="alive", f="alive", g="fenced")
    liveness = Liveness(FENCE_S, 0.0)
    for node in "abcdef":
        liveness.hear(node, beat(resigns=node == "e"), 10.0)
    liveness.hear("b", beat(2), 10.0)
    fitness = judge(view, liveness, {"f"}, 10.5)
    assert fitness.able == {"a", "d", "e"}
    assert fitness.willing == {"a"}
    assert [node.node for node in fitness.lost] == ["f"]
    assert [node.node for node in fitness.back] == ["c"]
    late = judge(view, liveness, {"f"}, 11.6)
    assert (late.able, late.back) == (frozenset(), ())
    assert [node.node for node in late.lost] == ["a", "b", "e", "f"]


def test_a_node_that_speaks_and_hears_nothing_may_not_lead() -> None:
    """It has no lease, whatever it is granted."""
    view = _view(a="alive", b="fenced")
    liveness = Liveness(FENCE_S, 0.0)
    for node in "ab":
        liveness.hear(node, beat(unanswered_ms=1_501), 10.0)
    fitness = judge(view, liveness, (), 10.0)
    assert not fitness.able
    assert [node.node for node in fitness.lost] == ["a"]
    assert fitness.back == ()
    for node in "ab":
        liveness.hear(node, beat(unanswered_ms=1_499), 10.0)
    fitness = judge(view, liveness, (), 10.0)
    assert fitness.able == {"a"}
    assert [node.node for node in fitness.back] == ["b"]


def test_whoever_could_not_be_heard_yet_has_its_time() -> None:
    """A controller that is new and hears nothing of a node does not know that it is gone."""
    view = _view(a="alive")
    liveness = Liveness(FENCE_S, 10.0)
    assert judge(view, liveness, (), 11.0).able == {"a"}
    assert judge(view, liveness, (), 12.0).able == frozenset()


def _cluster(nodes: str, voters: str, racks: str = "") -> ClusterView:
    machine = Machine()
    for n, node in enumerate(nodes):
        machine.do(AdmitNode(node, "h:1", racks[n] if racks else ""))
        machine.do(BeginLife(node, "h:1", 1))
        machine.do(SetNodeState(node, 1, NodeState.ALIVE.value))
    machine.do(ChangeVoters(tuple(voters), 0))
    return machine.state.view


def _next(nodes: str, voters: str, able: str = "", racks: str = "", most: int = 0) -> str | None:
    them = frozenset(able or nodes)
    return next_voter(_cluster(nodes, voters, racks), Fitness(them, them, (), ()), most)


def test_votes_go_to_three_or_five() -> None:
    """To one at a time; an even number gets one more; seven that were set up so stay."""
    assert _next("a", "a") is None
    assert _next("ab", "a") == "b"
    assert _next("abc", "ab") == "c"
    assert _next("abcd", "abc") is None
    assert _next("abcde", "abc") == "d"
    assert _next("abcdef", "abcd") == "e"
    assert _next("abcdef", "abcde") is None
    assert _next("abcdefgh", "abcdefg") is None
    assert _next("abc", "") is None


def test_no_more_vote_than_were_asked_for() -> None:
    """Also where that is an even number, or none could be lost."""
    assert _next("abc", "a", most=1) is None
    assert _next("abc", "a", most=2) == "b"
    assert _next("abcde", "ab", most=2) is None


def test_no_vote_is_given_while_a_voter_is_missing_unless_that_makes_it_odd() -> None:
    """Then a majority is as easily had as before."""
    assert _next("abcde", "abc", able="acde") is None
    assert _next("abcde", "abcd", able="acde") == "e"


def test_voters_are_spread_over_racks() -> None:
    """The rack with the fewest votes gets the next one."""
    assert _next("abcde", "abcd", racks="rrsst") == "e"
    assert _next("abcd", "ab", racks="rsrt") == "d"
