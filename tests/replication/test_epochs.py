"""Up to where two logs agree, against comparing them record by record."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from chronosdb.node.partition.epochs import EpochHistory, Extent, agreement

#: A record: its epoch, and a number that no other record has.
_Log = list[tuple[int, int]]

#: Who leads next, who of the others follows, how many records it writes, how many of them get through.
_TERMS = st.lists(
    st.tuples(st.integers(0, 3), st.sets(st.integers(0, 3)), st.integers(1, 4), st.integers(0, 4)),
    max_size=12,
)


def _logs(terms: list[tuple[int, set[int], int, int]]) -> list[_Log]:
    """Logs as leaders leave them that come one after the other, and reach some of the others."""
    logs: list[_Log] = [[], [], [], []]
    for epoch, (leader, followers, count, reached) in enumerate(terms, 1):
        logs[leader] += [(epoch, n) for n in range(count)]
        for follower in followers - {leader}:
            if _common(logs[leader], logs[follower]) < len(logs[leader]) - count:
                # It catches up on what it lacked, before it gets any of the new ones.
                logs[follower] = logs[leader][: len(logs[leader]) - count]
            end = len(logs[leader]) - count + min(reached, count)
            logs[follower] = logs[leader][:end]
    return logs


def _common(one: _Log, other: _Log) -> int:
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _extent(log: _Log, start: int = 0) -> Extent:
    history = EpochHistory()
    for lsn in range(start, len(log)):
        history.note(log[lsn][0], lsn)
    return Extent(start, len(log), history.reigns)


@settings(deadline=None)
@given(_TERMS)
def test_the_agreement_is_the_common_prefix(
    terms: list[tuple[int, set[int], int, int]],
) -> None:
    """Between any two logs that leaders and followers can have."""
    logs = _logs(terms)
    for leader in logs:
        for follower in logs:
            assert agreement(_extent(leader), _extent(follower)) == _common(leader, follower)


@settings(deadline=None)
@given(_TERMS, st.integers(0, 40), st.integers(0, 40))
def test_logs_that_lost_their_oldest_part_agree_no_further(
    terms: list[tuple[int, set[int], int, int]], start: int, other_start: int
) -> None:
    """What is not known is not taken for equal; what is committed, as every beginning is, may be."""
    logs = _logs(terms)
    for leader in logs:
        for follower in logs:
            common = _common(leader, follower)
            mine = _extent(leader, min(start, common))
            other = _extent(follower, min(other_start, common))
            found = agreement(mine, other)
            if found is not None:
                assert found <= common
                assert found >= min(common, other.start_lsn)
            if found is not None and found < common:
                # Then they have no epoch in common that both still hold.
                assert found == other.start_lsn


@settings(deadline=None)
@given(_TERMS, st.integers(0, 40))
def test_a_history_that_is_cut_is_that_of_the_cut_log(
    terms: list[tuple[int, set[int], int, int]], end: int
) -> None:
    """As if it had been made of what is left."""
    for log in _logs(terms):
        history = EpochHistory(_extent(log).reigns)
        history.truncate(end)
        assert history.reigns == _extent(log[:end]).reigns
        assert history.last == (log[:end][-1][0] if log[:end] else 0)


@settings(deadline=None)
@given(_TERMS, st.integers(0, 40))
def test_a_history_that_loses_its_oldest_part_keeps_who_reigned_there(
    terms: list[tuple[int, set[int], int, int]], start: int
) -> None:
    """The first reign may begin before the log does, or in its middle."""
    for log in _logs(terms):
        start = min(start, len(log))
        history = EpochHistory(_extent(log).reigns)
        history.begin_at(start)
        kept = [(epoch, max(lsn, start)) for epoch, lsn in history.reigns]
        assert kept == [tuple(reign) for reign in _extent(log, start).reigns] or start == len(log)
