"""Three real processes on real sockets and disks, killed with -9. More: tests.peers.processes."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.peers.processes import NAMES, Processes, torture


@pytest.mark.slow
def test_kill_9_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """A follower, two leaders, and what was acknowledged meanwhile is on every node."""
    outages_s = torture(tmp_path, kills=2, seed=5)
    assert max(outages_s) < 10


@pytest.mark.slow
def test_bytes_from_strangers_get_nowhere(tmp_path: Path) -> None:
    """On a real port: the connection is closed, and the cluster works on."""
    cluster = Processes(tmp_path)
    try:
        for name in NAMES:
            with socket.create_connection(("127.0.0.1", cluster.port(name)), 5) as stranger:
                stranger.settimeout(10)
                stranger.sendall(b"\x80\x04\x95" + b"\xff" * 100)
                assert stranger.recv(100) == b""
        cluster.all_tell("view")
        assert [process.answer() for process in cluster.running.values()] == [""] * 3
    finally:
        cluster.stop()
