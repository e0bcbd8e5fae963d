"""What a data directory becomes at its first start, and what later starts make of other settings."""

from __future__ import annotations

from typing import Any

import pytest

from chronosdb.node.cluster.set_up import charter_path, cluster_id, read_secret, set_up
from chronosdb.node.configuration.config import Address, Config, ConfigError
from chronosdb.node.environment import Environment
from chronosdb.node.identity import Identity, WrongDirectory
from chronosdb.node.peers.charter import Charter, read_charter
from chronosdb.testing.chance import Random
from chronosdb.testing.memory_disk import MemoryDisk
from chronosdb.wal.layout import DataDir

DATA = DataDir("/data")
THREE = tuple((f"n{i}", Address(f"h{i}", 9001)) for i in (1, 2, 3))


class Host:
    """A machine with a disk, on which a node is set up again and again."""

    def __init__(self, seed: int = 1) -> None:
        self.disk = MemoryDisk()
        self.env = Environment(disk=self.disk, random=Random(seed))
        for directory in (DATA.path, DATA.partitions, DATA.raft):
            self.disk.mkdir(directory)

    def start(self, **settings: Any) -> tuple[Identity, Charter | None]:
        return set_up(self.env, DATA, Config(**settings))

    def refusal(self, **settings: Any) -> str:
        """The one sentence with which these settings are refused; nothing changes."""
        before = read_charter(self.disk, charter_path(DATA))
        with pytest.raises((ConfigError, WrongDirectory)) as caught:
            self.start(**settings)
        assert read_charter(self.disk, charter_path(DATA)) == before
        return str(caught.value)


def founder(node: str = "n1", **settings: Any) -> dict[str, Any]:
    return {"node_id": node, "initial_cluster": THREE, **settings}


def test_first_voters_agree_on_their_cluster() -> None:
    """Its id follows from what all of them are given, in any order."""
    stamps = [Host(seed).start(**founder(f"n{seed}")) for seed in (1, 2, 3)]
    assert len({identity.cluster_id for identity, _ in stamps}) == 1
    other = Config(**founder(initial_cluster=THREE[::-1]))
    assert cluster_id(other) == stamps[0][0].cluster_id


def test_the_first_start_writes_who_the_others_are() -> None:
    """Without the node itself; it was born with a vote."""
    host = Host()
    identity, charter = host.start(**founder("n2", cluster_name="blue"))
    assert charter is not None
    assert (identity.cluster_id, identity.node_id) == ("blue", "n2")
    assert (charter.node_id, charter.joins) == ("n2", False)
    assert charter.peers == {"n1": "h1:9001", "n3": "h3:9001"}


def test_one_that_comes_later_joins_without_a_vote() -> None:
    """It knows some of those that are there."""
    _, charter = Host().start(node_id="n4", join=THREE[:2], cluster_name="blue")
    assert charter is not None
    assert charter.joins
    assert list(charter.peers) == ["n1", "n2"]


def test_a_later_start_needs_no_settings_of_the_cluster() -> None:
    """The charter has them."""
    host = Host()
    first = host.start(**founder())
    assert host.start() == first
    assert host.start(**founder()) == first


def test_a_node_without_them_is_alone() -> None:
    """As ever."""
    identity, charter = Host().start(node_id="n1")
    assert charter is None
    assert identity.node_id == "n1"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (founder("n2"), "is of node 'n1', not of 'n2'"),
        (founder(cluster_name="red"), "is of cluster 'blue', not of 'red'"),
        (founder(initial_cluster=THREE[:2]), "began with n1, n2, n3, not with n1, n2"),
        (
            {"node_id": "n1", "join": THREE[1:], "cluster_name": "blue"},
            "is of a node that began its cluster: leave out join",
        ),
    ],
)
def test_settings_that_contradict_the_charter_are_refused(
    settings: dict[str, Any], says: str
) -> None:
    """By the file, with what to do."""
    host = Host()
    host.start(**founder(cluster_name="blue"))
    assert says in host.refusal(**settings)


def test_a_node_that_joined_does_not_begin_a_cluster() -> None:
    host = Host()
    host.start(node_id="n1", join=THREE[1:], cluster_name="blue")
    assert "joined a cluster: leave out initial_cluster" in host.refusal(**founder())


def test_a_node_that_was_alone_can_only_be_the_first_of_its_cluster() -> None:
    """Its data must not meet that of others; the sentence says how it is done."""
    host = Host()
    host.start(node_id="n1")
    said = host.refusal(**founder())
    assert "was set up for a node alone, n1" in said
    assert "chronos cluster add" in said
    assert "keeps that name" in host.refusal(
        node_id="n1", initial_cluster=THREE[:1], cluster_name="blue"
    )


def test_a_node_that_was_alone_becomes_a_cluster_under_its_old_id() -> None:
    """With itself for its one voter."""
    host = Host()
    before, _ = host.start(node_id="n1")
    identity, charter = host.start(node_id="n1", initial_cluster=THREE[:1])
    assert identity == before
    assert charter is not None
    assert (charter.cluster_id, charter.peers) == (before.cluster_id, {})


def test_a_crash_in_the_middle_of_the_first_start_is_made_good() -> None:
    """A charter without a stamp is completed; never the other way round."""
    host = Host()
    _, charter = host.start(**founder())
    host.disk.unlink(DATA.identity)
    identity, again = host.start(**founder())
    assert again == charter
    assert identity.node_id == "n1"


def test_the_stamp_and_the_charter_belong_together() -> None:
    """Files that were mixed up are found out."""
    one, other = Host(1), Host(2)
    one.start(**founder(cluster_name="blue"))
    other.start(**founder(cluster_name="red"))
    one.disk.write_file_atomic(DATA.identity, other.disk.read_file(DATA.identity))
    assert "belongs to cluster 'red', not to 'blue'" in one.refusal()


def test_a_name_too_long_for_a_handshake_is_refused() -> None:
    assert "64 at most" in Host().refusal(**founder(cluster_name="x" * 65))


def test_the_secret_is_what_the_file_holds() -> None:
    """White space around it is how files are made, and no part of it."""
    host = Host()
    host.disk.write_file_atomic("/s", b" 0123456789abcdef\n")
    assert read_secret(host.env, Config(cluster_secret_file="/s")) == b"0123456789abcdef"
    assert read_secret(host.env, Config()) == b""


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "cannot read cluster_secret_file /s"), (b"\n", "is empty"), (b"short", "16 bytes")],
)
def test_a_secret_that_cannot_be_used_is_refused(content: bytes | None, says: str) -> None:
    host = Host()
    if content is not None:
        host.disk.write_file_atomic("/s", content)
    with pytest.raises(ConfigError, match=says):
        read_secret(host.env, Config(cluster_secret_file="/s"))
