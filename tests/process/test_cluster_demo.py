"""`chronos demo --cluster`, on other ports and with shorter acts."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path

import pytest

from chronosdb.node.demo.cluster_story import ClusterStory, Findings
from chronosdb.wire.messages import ClusterState
from tests.process.harness import free_port


def free_pair() -> int:
    """A port that nobody listens on, like the one below it, which is for clients."""
    while True:
        port = free_port()
        with suppress(OSError), socket.create_server(("127.0.0.1", port - 1)):
            return port


@pytest.mark.slow
async def test_three_nodes_lose_nothing_when_one_is_killed(tmp_path: Path) -> None:
    """Everything that was acked is there, once, and was consumed; the node is in sync again."""
    found: list[Findings] = []
    seen: list[ClusterState] = []
    said: list[str] = []
    peers = ",".join(f"n{n}=127.0.0.1:{free_pair()}" for n in (1, 2, 3))
    story = ClusterStory(tmp_path, said.append, seen.append, act_s=0.5, peers=peers)
    await story.play(checked=found.append, stay=False)
    [findings] = found
    assert findings.kept, findings
    assert findings.published > 0
    assert [state.leaderless for state in (seen[0], seen[-1])] == [0, 0]
    assert "kill -9" in " ".join(said)
