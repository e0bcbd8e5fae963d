"""Requests as hypothesis makes them: few names, so that commands meet each other."""

from __future__ import annotations

from hypothesis import strategies as st

from chronosdb.raft import (
    BumpEpochs,
    Command,
    CreateTopic,
    DeleteGroup,
    DeleteTopic,
    Noop,
    PutGroup,
    RegisterNode,
    Request,
)

_topics = st.sampled_from(["a", "b", "c.dlq", "", "..", "no/slash", "x" * 250])
_groups = st.sampled_from(["g", "h", "white space"])
_nodes = st.sampled_from(["n1", "n2", ""])
_settings = st.dictionaries(
    st.sampled_from(["max_attempts", "backoff_ms", "replication", "colour"]),
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
        st.builds(RegisterNode, _nodes, st.sampled_from(["h:1", "h:2", ""]), st.integers(-1, 3)),
        st.builds(BumpEpochs, _nodes),
        st.builds(Noop),
    )


def requests() -> st.SearchStrategy[Request]:
    """Any command under a request id that may well have been used before."""
    return st.builds(
        Request, st.sampled_from(["c", "d"]), st.integers(1, 60), st.integers(0, 1_000), commands()
    )
