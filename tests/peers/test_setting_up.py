"""The charter of a node, and the secret of a cluster."""

from __future__ import annotations

import pytest

from chronosdb.node.configuration.settings import ConfigError
from chronosdb.node.peers.charter import Charter, read_charter, write_charter
from chronosdb.node.peers.network import split_address
from chronosdb.node.peers.roster import Member, members_of, read_roster, write_roster
from chronosdb.node.peers.secret import check_secret
from chronosdb.raft import NodeInfo, NodeState
from chronosdb.testing.chance import Random
from chronosdb.testing.memory_disk import MemoryDisk


def _write(
    disk: MemoryDisk, *, peers: dict[str, str], joins: bool = False, seed: int = 1
) -> Charter:
    disk.mkdir("/d")
    return write_charter(
        disk,
        "/d/charter",
        Random(seed),
        cluster_id="c1",
        node_id="a",
        address="a:1",
        peers=peers,
        joins=joins,
    )


def test_a_charter_is_written_once_and_survives_a_power_cut() -> None:
    """Its birth is the directory's, so it must not change."""
    disk = MemoryDisk()
    written = _write(disk, peers={"b": "b:1"})
    disk.crash()
    assert read_charter(disk, "/d/charter") == written
    with pytest.raises(ConfigError, match="set up before"):
        _write(disk, peers={"b": "b:1"})


def test_each_directory_has_a_birth_of_its_own() -> None:
    """Also under the same name in the same cluster."""
    assert _write(MemoryDisk(), peers={}).birth != _write(MemoryDisk(), peers={}, seed=2).birth


@pytest.mark.parametrize(
    ("peers", "joins", "says"),
    [({"a": "x:1"}, False, "its own peer"), ({}, True, "needs the address of a node")],
)
def test_a_charter_that_cannot_work_is_refused(
    peers: dict[str, str], joins: bool, says: str
) -> None:
    """Before anything is written."""
    disk = MemoryDisk()
    with pytest.raises(ConfigError, match=says):
        _write(disk, peers=peers, joins=joins)
    assert read_charter(disk, "/d/charter") is None


def test_a_roster_survives_a_power_cut() -> None:
    """A node must know after a restart whom to let in."""
    disk = MemoryDisk()
    disk.mkdir("/d")
    assert read_roster(disk, "/d/roster") == {}
    members = {"b": Member("b:1", "x"), "c": Member("c:1", "y", removed=True)}
    write_roster(disk, "/d/roster", members)
    disk.crash()
    assert read_roster(disk, "/d/roster") == members


def test_the_metadata_goes_before_what_was_known() -> None:
    """What it does not say stays."""
    known = {"b": Member("b:1"), "c": Member("c:1", "old")}
    nodes = {
        "b": NodeInfo("b", "", 0, "b:2", birth="x"),
        "c": NodeInfo("c", "", 0, state=NodeState.LEFT),
        "d": NodeInfo("d", "", 0, "d:1"),
    }
    assert members_of(known, nodes) == {
        "b": Member("b:2", "x"),
        "c": Member("c:1", "old", removed=True),
        "d": Member("d:1"),
    }


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"\xff", b'{"format": 9}', b'{"format": 9, "members": {}}']
)
def test_a_damaged_charter_is_no_cluster_of_one(data: bytes) -> None:
    """It is refused, by its path; so is a damaged roster."""
    disk = MemoryDisk()
    disk.mkdir("/d")
    disk.write_file_atomic("/d/file", data)
    for read in (read_charter, read_roster):
        with pytest.raises(ConfigError, match="/d/file"):
            read(disk, "/d/file")


@pytest.mark.parametrize(
    ("host", "secret", "says"),
    [
        ("0.0.0.0", b"", "listening for peers on 0.0.0.0 needs a cluster secret"),
        ("::", b"", "needs a cluster secret"),
        ("10.1.2.3", b"", "or listen on 127.0.0.1"),
        ("10.1.2.3", b"short", "must have 16 bytes or more"),
        ("127.0.0.1", b"short", "must have 16 bytes or more"),
    ],
)
def test_peers_are_not_listened_for_unprotected(host: str, secret: bytes, says: str) -> None:
    """The message says what to do."""
    with pytest.raises(ConfigError, match=says):
        check_secret(host, secret)


@pytest.mark.parametrize(
    ("host", "secret"),
    [("127.0.0.1", b""), ("::1", b""), ("localhost", b""), ("0.0.0.0", b"x" * 16)],
)
def test_loopback_needs_no_secret(host: str, secret: bytes) -> None:
    """Nor is a good one refused anywhere."""
    check_secret(host, secret)


@pytest.mark.parametrize(
    ("address", "expected"), [("h:1", ("h", 1)), ("[::1]:9001", ("::1", 9001))]
)
def test_an_address_is_a_host_and_a_port(address: str, expected: tuple[str, int]) -> None:
    """Brackets belong to the notation."""
    assert split_address(address) == expected


@pytest.mark.parametrize("address", ["", "h", ":1", "h:", "h:x", "h:¹"])
def test_what_is_no_address_cannot_be_reached(address: str) -> None:
    """It is whatever was put into the metadata: an error like any other of the network."""
    with pytest.raises(OSError, match="is no host:port"):
        split_address(address)
