"""`chronos cluster` against a client that notes what it is asked, and the files of `cluster init`."""

from __future__ import annotations

import json
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from chronosdb.client import Client, NodeStats
from chronosdb.client.cli import cluster as commands
from chronosdb.client.cli.app import run
from chronosdb.client.cli.cluster_files import Plan, node_file, parse_nodes
from chronosdb.client.cli.exits import Exit
from chronosdb.node.configuration.config import Config, load_config
from chronosdb.wire.messages import ClusterState, CopyState, NodeState, PartitionState

CONFIGS = Path(__file__).parents[2] / "configs" / "cluster"
THREE = "n1=10.0.0.1:9001,n2=10.0.0.2:9001,n3=10.0.0.3:9001"


def node(name: str, **facts: Any) -> NodeState:
    """A healthy node, but for `facts`."""
    usual: dict[str, Any] = {
        "address": f"{name}:9000",
        "peer_address": f"{name}:9001",
        "rack": "",
        "state": "alive",
        "votes": True,
        "reached": True,
        "silent_ms": 120,
        "ahead_ms": 3,
        "version": "0.1",
        "led": 2,
        "copies": 6,
    }
    return NodeState(name, **usual | facts)


HEALTHY = ClusterState("blue", "n1", "n2", [node("n1"), node("n2"), node("n3")], 6, 0, 0, 0)
HURT = ClusterState(
    "blue",
    "n1",
    "",
    [node("n1"), node("n2", state="fenced", reached=False, silent_ms=None, ahead_ms=None, led=0)],
    1200,
    1,
    4,
    2,
)
COPIES = [
    PartitionState(0, "n1", 3, [CopyState("n1", True, False, 0), CopyState("n2", True, False, 0)]),
    PartitionState(
        1,
        "",
        4,
        [
            CopyState("n1", False, False, None),
            CopyState("n2", False, True, 2048),
            CopyState("n3", True, False, 0),
        ],
    ),
]
ALONE = ClusterState("c", "n1", "n1", [node("n1", peer_address="")], 2, 0, 0, 0)


@dataclass
class Operator:
    """The part of a client that these commands use; every call is noted."""

    state: ClusterState = HEALTHY
    copies: list[PartitionState] = field(default_factory=lambda: COPIES)
    #: How many partitions are left to move, each time somebody asks.
    left: list[int] = field(default_factory=list)
    calls: list[tuple[Any, ...]] = field(default_factory=list)

    @asynccontextmanager
    async def connect(
        self,
        _addresses: str,
        *,
        timeout: float,  # noqa: ARG002, ASYNC109 - the name is the contract's
    ) -> AsyncIterator[Client]:
        yield cast("Client", self)

    @property
    def cluster(self) -> Operator:
        return self

    def next_left(self, *call: Any) -> int:
        self.calls.append(call)
        return self.left.pop(0)

    async def stats(self) -> NodeStats:
        return NodeStats("n1", "c", "0.1", 0, 90_000, 1, 0, 5, 7, [], [])

    async def status(self) -> ClusterState:
        if self.left:
            moving = self.next_left("status")
            return ClusterState("blue", "n1", "n2", [], 6, 0, 0, moving)
        return self.state

    async def topic(self, name: str) -> list[PartitionState]:
        self.calls.append(("topic", name))
        return self.copies

    async def add(self, name: str, peer_address: str, *, rack: str) -> None:
        self.calls.append(("add", name, peer_address, rack))

    async def drain(self, name: str, *, undo: bool) -> int:
        return self.next_left("drain", name, undo)

    async def remove(self, name: str, *, force: bool) -> int:
        return self.next_left("remove", name, force)

    async def transfer(self, to: str, **terms: Any) -> None:
        self.calls.append(("transfer", to, terms))

    async def rebalance(self, *, cancel: bool) -> int:
        return self.next_left("rebalance", cancel)

    async def set_replication(self, topic: str, copies: int) -> int:
        self.calls.append(("set_replication", topic, copies))
        return 0


@pytest.fixture
def operator(monkeypatch: pytest.MonkeyPatch) -> Operator:
    """Somebody to ask, again and again without a pause."""
    monkeypatch.setattr(commands, "_LOOK_S", 0)
    return Operator()


@pytest.fixture
def chronos(operator: Operator) -> Callable[..., int]:
    """Runs `chronos cluster` with that client."""
    return lambda *argv: run(["cluster", *argv], connect=operator.connect)


Capture = pytest.CaptureFixture[str]


def test_a_healthy_cluster_is_one_line_and_a_table(
    chronos: Callable[..., int], capsys: Capture
) -> None:
    """Tab-separated in a pipe."""
    assert chronos("status") is Exit.OK
    assert capsys.readouterr().out.splitlines() == [
        "cluster       blue, as n1 knows it",
        "metadata      led by n2; voters n1, n2, n3",
        "partitions    6: all led, all in sync",
        "",
        "node\tstate\theard\tclock\tleads\tholds\track\tclients\tpeers",
        "n1\talive, votes\t120ms ago\t+3ms\t2\t6\t\tn1:9000\tn1:9001",
        "n2\talive, leads the metadata\t120ms ago\t+3ms\t2\t6\t\tn2:9000\tn2:9001",
        "n3\talive, votes\t120ms ago\t+3ms\t2\t6\t\tn3:9000\tn3:9001",
    ]


def test_what_is_wrong_is_said(
    chronos: Callable[..., int], operator: Operator, capsys: Capture
) -> None:
    """In words, and by node and copy."""
    operator.state = HURT
    assert chronos("status", "--topic", "t") is Exit.OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "metadata      without a leader; voters n1, n2"
    assert lines[2] == (
        "partitions    1,200: 1 without a leader, 4 with too few copies in sync, 2 on the move"
    )
    assert lines[6] == "n2\tfenced, silent, votes\t\t\t0\t6\t\tn2:9000\tn2:9001"
    assert lines[9:] == [
        "0\tn1\t3\tn1, n2",
        "1\tnobody\t4\tn1 (not in sync), n2 (not in sync, leaving, 2.0 KiB behind), n3",
    ]


def test_a_program_gets_all_of_it(
    chronos: Callable[..., int], operator: Operator, capsys: Capture
) -> None:
    """Nested as it is."""
    operator.state = HURT
    assert chronos("status", "--topic", "t", "--json") is Exit.OK
    found = json.loads(capsys.readouterr().out)
    assert (found["cluster_id"], found["behind"]) == ("blue", 4)
    assert found["nodes"][1]["state"] == "fenced"
    assert found["topic"][1]["copies"][1] == {
        "node": "n2",
        "in_sync": False,
        "leaving": True,
        "lag_bytes": 2048,
    }


def test_a_node_alone_tells_how_it_does(
    chronos: Callable[..., int], operator: Operator, capsys: Capture
) -> None:
    """There are no copies to speak of."""
    operator.state = ALONE
    assert chronos("status") is Exit.OK
    assert "up            1m 30s" in capsys.readouterr().out


def test_an_added_node_is_told_what_to_start_with(
    chronos: Callable[..., int], operator: Operator, capsys: Capture
) -> None:
    """Lines that go into its configuration file; the rest to stderr."""
    assert chronos("add", "n4=10.0.0.4:9001", "--rack", "r2") is Exit.OK
    assert operator.calls == [("add", "n4", "10.0.0.4:9001", "r2")]
    said = capsys.readouterr()
    text = said.out + 'data_dir = "/d"\ncluster_secret_file = "/s"\ninsecure_i_know = true\n'
    config = load_config(["--config", "x"], {}, lambda _: text.encode())
    assert (config.node_id, config.cluster_name) == ("n4", "blue")
    assert [name for name, _ in config.join] == ["n1", "n2", "n3"]
    assert (str(config.peer_listen), str(config.listen)) == ("10.0.0.4:9001", "10.0.0.4:9000")
    assert "node n4 is admitted" in said.err


@pytest.mark.parametrize(
    ("argv", "left", "calls"),
    [
        (["drain", "n3"], [2, 1, 0], [("drain", "n3", False)] * 3),
        (["drain", "n3", "--undo"], [0], [("drain", "n3", True)]),
        (["remove", "n3", "--yes"], [1, 0], [("remove", "n3", False)] * 2),
        (["remove", "n3", "--yes", "--force"], [0], [("remove", "n3", True)]),
        (["rebalance"], [3, 2, 0], [("rebalance", False), ("status",), ("status",)]),
        (["rebalance"], [0], [("rebalance", False)]),
        (["rebalance", "--cancel"], [0], [("rebalance", True)]),
    ],
)
def test_what_moves_data_is_waited_for(
    chronos: Callable[..., int],
    operator: Operator,
    capsys: Capture,
    *,
    argv: list[str],
    left: list[int],
    calls: list[tuple[Any, ...]],
) -> None:
    """By asking again until nothing is left."""
    operator.left = list(left)
    assert chronos(*argv) is Exit.OK
    assert operator.calls == calls
    assert capsys.readouterr().out == "done\n"


def test_nobody_has_to_wait(
    chronos: Callable[..., int], operator: Operator, capsys: Capture
) -> None:
    """What is left is said, and where to look."""
    operator.left = [2]
    assert chronos("drain", "n3", "--no-wait") is Exit.OK
    assert capsys.readouterr().out.startswith("2 partitions to move; `chronos cluster status`")
    operator.left = [2]
    assert chronos("remove", "n3", "--yes", "--no-wait", "--json") is Exit.OK
    assert json.loads(capsys.readouterr().out) == {"node": "n3", "left": 2}


def test_a_topic_has_its_copies_when_all_are_in_sync(
    chronos: Callable[..., int], operator: Operator, capsys: Capture
) -> None:
    """Not before; and none too many."""
    operator.copies = [COPIES[0]]
    assert chronos("set-replication", "t", "2") is Exit.OK
    assert operator.calls == [("set_replication", "t", 2), ("topic", "t")]
    operator.copies = COPIES
    assert chronos("set-replication", "t", "2", "--no-wait") is Exit.OK
    assert capsys.readouterr().out.splitlines()[1].startswith("1 partition to move")


def test_leadership_is_transferred(
    chronos: Callable[..., int], operator: Operator, capsys: Capture
) -> None:
    """Of the metadata, of a partition; and at the price of data, if that is said."""
    assert chronos("transfer", "n2") is Exit.OK
    assert chronos("transfer", "n2", "--topic", "t", "--partition", "3") is Exit.OK
    assert chronos("transfer", "n2", "--topic", "t", "--unclean", "--yes") is Exit.OK
    terms: dict[str, Any] = {"topic": "t", "partition": 0, "unclean": False}
    assert operator.calls == [
        ("transfer", "n2", {**terms, "topic": None}),
        ("transfer", "n2", {**terms, "partition": 3}),
        ("transfer", "n2", {**terms, "unclean": True}),
    ]
    assert capsys.readouterr().out.splitlines() == [
        "n2 is to lead the metadata",
        "n2 is to lead t/3",
        "n2 is to lead t/0",
    ]


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["remove", "n3"], "Remove node n3 for good? Nobody can be asked here: say --yes."),
        (["remove", "n3", "--force"], "giving up what only it has"),
        (["transfer", "n2", "--topic", "t", "--unclean"], "Lose what n2 lacks of t/0 for good?"),
        (["transfer", "n2", "--unclean"], "say which with --topic"),
        (["add", "n4"], '"n4" is not NAME=HOST:PORT'),
        (["add", "n4=10.0.0.4"], "give the port for peers, such as 10.0.0.4:9001"),
        (["add", "n4=a b:1"], "is not the address of a node"),
        (["init", "n1=a:9001,n1=b:9001", "--out", "x"], 'node "n1" is given twice'),
        (["init", "n1=a:9001,n2=a:9001", "--out", "x"], "two nodes have the same address"),
        (["init", ",", "--out", "x"], "give the nodes, such as"),
        (
            ["init", ",".join(f"n{n}=a:{n}" for n in range(2, 10)), "--out", "x"],
            "8 nodes; begin with 3 or 5",
        ),
    ],
)
def test_what_is_dangerous_or_wrong_is_not_done(
    chronos: Callable[..., int],
    operator: Operator,
    capsys: Capture,
    *,
    argv: list[str],
    says: str,
) -> None:
    """Before anything is sent."""
    assert chronos(*argv) is Exit.USAGE
    assert says in capsys.readouterr().err
    assert operator.calls == []


def loaded(path: Path) -> Config:
    return load_config(["--config", str(path)], {}, lambda name: Path(name).read_bytes())


def test_init_writes_what_nodes_start_with(
    chronos: Callable[..., int], capsys: Capture, tmp_path: Path
) -> None:
    """A file for each node, and one secret for all, which nobody else can read."""
    out = tmp_path / "cluster"
    assert chronos("init", THREE, "--out", str(out), "--name", "blue", "--json") is Exit.OK
    found = json.loads(capsys.readouterr().out)
    assert found["servers"] == "10.0.0.1:9000,10.0.0.2:9000,10.0.0.3:9000"
    assert sorted(found["files"]) == [
        str(out / name) for name in ("n1.toml", "n2.toml", "n3.toml", "secret")
    ]
    assert stat.S_IMODE((out / "secret").stat().st_mode) == 0o600
    assert len((out / "secret").read_text().strip()) == 64
    for number, name in enumerate(("n1", "n2", "n3"), 1):
        config = loaded(out / f"{name}.toml")
        assert (config.node_id, config.cluster_name) == (name, "blue")
        assert [one for one, _ in config.initial_cluster] == ["n1", "n2", "n3"]
        assert str(config.peer_listen) == f"10.0.0.{number}:9001"
        assert str(config.listen) == f"10.0.0.{number}:9000"
        assert config.cluster_secret_file == str(out / "secret")


def test_init_overwrites_nothing(
    chronos: Callable[..., int], capsys: Capture, tmp_path: Path
) -> None:
    """Least of all a secret that a cluster uses."""
    assert chronos("init", THREE, "--out", str(tmp_path)) is Exit.OK
    assert "copy the secret and NODE.toml to" in capsys.readouterr().err
    secret = (tmp_path / "secret").read_text()
    (tmp_path / "n1.toml").unlink()
    assert chronos("init", THREE, "--out", str(tmp_path)) is Exit.ERROR
    assert "exists already" in capsys.readouterr().err
    assert (tmp_path / "secret").read_text() == secret
    assert not (tmp_path / "n1.toml").exists()


def test_nodes_on_one_machine_have_ports_of_their_own(
    chronos: Callable[..., int], tmp_path: Path
) -> None:
    """And need no assent, for nobody else can reach them."""
    nodes = "n1=127.0.0.1:9001,n2=127.0.0.1:9011,n3=127.0.0.1:9021"
    assert chronos("init", nodes, "--out", str(tmp_path)) is Exit.OK
    configs = [loaded(tmp_path / f"n{n}.toml") for n in (1, 2, 3)]
    ports = {str(a) for c in configs for a in (c.listen, c.peer_listen, c.http)}
    assert len(ports) == 9
    assert len({config.data_dir for config in configs}) == 3
    assert not any(config.insecure_i_know for config in configs)


def test_the_shipped_files_are_what_init_writes() -> None:
    """configs/cluster/ shows them, for three machines, so it cannot go stale."""
    plan = Plan("production", parse_nodes(THREE), "/etc/chronosdb", "/var/lib/chronosdb")
    for one in plan.nodes:
        assert (CONFIGS / f"{one.name}.toml").read_text() == node_file(plan, one)
        assert loaded(CONFIGS / f"{one.name}.toml").data_dir == "/var/lib/chronosdb"
