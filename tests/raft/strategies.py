"""Requests as hypothesis makes them: few names, so that commands meet each other."""

from __future__ import annotations

from hypothesis import strategies as st

from chronosdb.raft import (
    AdmitNode,
    AdvanceSchedules,
    AlterPartitions,
    BeginLife,
    BumpEpochs,
    ChangeVoters,
    Command,
    CreateTopic,
    DeleteGroup,
    DeleteSchedule,
    DeleteTopic,
    EnrollNode,
    Move,
    Noop,
    PartitionChange,
    PauseSchedule,
    PlanMoves,
    PutAssignment,
    PutClusterSettings,
    PutGroup,
    PutSchedule,
    RegisterNode,
    RemoveNode,
    Request,
    ResumeSchedule,
    SetNodeState,
    SetReplication,
)

_topics = st.sampled_from(["a", "b", "c.dlq", "", "..", "no/slash", "x" * 250])
_groups = st.sampled_from(["g", "h", "white space"])
_nodes = st.sampled_from(["n1", "n2", ""])
_some_nodes = st.lists(_nodes, max_size=3).map(tuple)
_partition_changes = st.builds(
    PartitionChange,
    _topics,
    st.integers(-1, 5),
    st.integers(-1, 60),
    _nodes,
    _some_nodes,
    _some_nodes,
    st.booleans(),
    st.booleans(),
)
_moves = st.builds(Move, _topics, st.integers(-1, 5), _some_nodes)
_members = st.lists(st.sampled_from(["m", "n", ""]), max_size=3).map(tuple)
_schedules = st.sampled_from(["s", "t", "no/slash", "x" * 81])
_marks = st.dictionaries(
    st.sampled_from([*(f"s/{n}" for n in range(1, 9)), "t/1", "s", "/", "t/x"]),
    st.integers(-1, 2_000),
    max_size=3,
)
_settings = st.dictionaries(
    st.sampled_from(["max_attempts", "backoff_ms", "replication", "min_insync", "acks", "colour"]),
    st.integers(-1, 9),
    max_size=2,
)


def commands() -> st.SearchStrategy[Command]:
    """Any command, sound or not."""
    return st.one_of(
        st.builds(CreateTopic, _topics, st.integers(-1, 5) | st.just(1_025), _settings),
        st.builds(DeleteTopic, _topics),
        st.builds(
            PutGroup, _topics, _groups, st.sampled_from(["ordered", "shared", "x"]), _settings
        ),
        st.builds(DeleteGroup, _topics, _groups),
        st.builds(
            PutAssignment,
            _topics,
            _groups,
            st.integers(-1, 60),
            _members,
            st.lists(st.integers(-1, 2), max_size=3).map(tuple),
        ),
        st.builds(SetReplication, _topics, st.integers(-1, 9)),
        st.builds(BeginLife, _nodes, st.sampled_from(["h:1", ""]), st.integers(-1, 5)),
        st.builds(RegisterNode, _nodes, st.sampled_from(["h:1", "h:2", ""]), st.integers(-1, 3)),
        st.builds(BumpEpochs, _nodes),
        st.builds(AdmitNode, _nodes, st.sampled_from(["h:1", ""]), st.sampled_from(["r1", ""])),
        st.builds(EnrollNode, _nodes, st.just("h:1"), st.sampled_from(["x", "y", ""])),
        st.builds(
            SetNodeState,
            _nodes,
            st.integers(0, 3),
            st.sampled_from(["alive", "fenced", "draining", "left"]),
        ),
        st.builds(RemoveNode, _nodes),
        st.builds(ChangeVoters, _some_nodes, st.integers(0, 60)),
        st.builds(AlterPartitions, st.lists(_partition_changes, max_size=3).map(tuple)),
        st.builds(PlanMoves, st.lists(_moves, max_size=3).map(tuple)),
        st.builds(PutClusterSettings, _settings),
        st.builds(
            PutSchedule,
            _schedules,
            _topics,
            st.sampled_from([b"", b"hourly", b"x" * 24_577]),
            st.booleans(),
            st.integers(-1, 1_000),
        ),
        st.builds(PauseSchedule, _schedules),
        st.builds(ResumeSchedule, _schedules, st.integers(0, 1_000)),
        st.builds(DeleteSchedule, _schedules),
        st.builds(AdvanceSchedules, _marks),
        st.builds(Noop),
    )


def requests() -> st.SearchStrategy[Request]:
    """Any command under a request id that may well have been used before."""
    return st.builds(
        Request, st.sampled_from(["c", "d"]), st.integers(1, 60), st.integers(0, 1_000), commands()
    )
