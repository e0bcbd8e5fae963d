"""Each command against a broker in memory: what it asks, what it prints, how it ends."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chronosdb.client.cli.app import run
from chronosdb.client.cli.exits import Exit
from chronosdb.wire.errors import ConnectionLost, Overloaded
from tests.cli.fake_broker import NOW_MS, FakeBroker, refusing

Run = Callable[..., int]


@pytest.fixture
def broker() -> FakeBroker:
    """A broker with one empty topic, "orders"."""
    broker = FakeBroker()
    assert run(["topic", "create", "orders"], connect=broker.connect) is Exit.OK
    return broker


@pytest.fixture
def chronos(broker: FakeBroker, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `chronos` against that broker."""
    capsys.readouterr()
    return lambda *argv: run(argv, connect=broker.connect)


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Callable[[], Any]:
    """The JSON objects on stdout; stderr must be empty."""

    def read() -> Any:
        out, err = capsys.readouterr()
        assert err == ""
        return [json.loads(line) for line in out.splitlines()]

    return read


def lines_file(tmp_path: Path, *lines: object) -> str:
    """A file of JSON lines; a str is a line as it is."""
    text = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path = tmp_path / "events.jsonl"
    path.write_text("".join(f"{line}\n" for line in text))
    return str(path)


# ---- topic -----------------------------------------------------------------------------------------


def test_a_topic_may_be_replicated(chronos: Run, printed: Callable[[], Any]) -> None:
    safety = ("--replication", "3", "--min-insync", "2", "--acks", "all")
    assert chronos("topic", "create", "safe", *safety, "--json") is Exit.OK
    assert printed()[0]["settings"] == {"replication": 3, "min_insync": 2, "acks": "all"}
    assert chronos("topic", "create", "safe", "--acks", "most") is Exit.USAGE


def test_a_publish_says_whose_disks(broker: FakeBroker, chronos: Run, tmp_path: Path) -> None:
    """One event, or a file of them."""
    assert chronos("publish", "orders", "x", "--acks", "all") is Exit.OK
    assert broker.terms["acks"] == "all"
    events = lines_file(tmp_path, {"payload": "x"})
    assert chronos("publish", "orders", "--file", events, "--acks", "leader") is Exit.OK
    assert broker.terms["acks"] == "leader"
    assert chronos("publish", "orders", "x") is Exit.OK
    assert broker.terms["acks"] is None


def test_a_topic_takes_settings(chronos: Run, printed: Callable[[], Any]) -> None:
    """Each `--set` is one of them; a wrong one is wrong usage."""
    words = ("topic", "create", "slow", "--set", "max_attempts=2", "--set", "ack_timeout_ms=5m")
    assert chronos("--json", *words) is Exit.OK
    (created,) = printed()
    assert created["settings"] == {"max_attempts": 2, "ack_timeout_ms": 300_000}
    assert chronos("topic", "create", "slow", "--set", "max_attempts=many") is Exit.USAGE


def test_topics_are_created_listed_and_shown(chronos: Run, printed: Callable[[], Any]) -> None:
    """What create prints, show and list print too."""
    assert chronos("--json", "topic", "create", "audit", "--partitions", "3") is Exit.OK
    (created,) = printed()
    assert (created["topic"], created["partitions"]) == ("audit", 3)
    chronos("topic", "show", "audit", "--json")
    chronos("topic", "--json", "list")
    shown, listed, other = printed()
    assert shown == listed == created
    assert other["topic"] == "orders"


def test_a_topic_list_in_a_pipe_is_tab_separated(
    chronos: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a terminal there is no width to fit into: nothing is cut."""
    chronos("topic", "list")
    assert capsys.readouterr().out.splitlines() == [
        "topic\tpartitions\tcreated",
        "orders\t1\t2030-03-17T17:46:40.000Z",
    ]


def test_show_is_for_people(chronos: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Name, partitions and settings, one on a line."""
    chronos("topic", "show", "orders")
    assert "max_attempts  5\n" in capsys.readouterr().out


def test_an_unknown_topic_is_not_found(chronos: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 3, and advice."""
    assert chronos("topic", "show", "nope") is Exit.NOT_FOUND
    assert capsys.readouterr().err == (
        'error: there is no topic "nope"; "chronos topic list" shows the topics\n'
    )


def test_a_topic_that_exists_otherwise_is_a_conflict(chronos: Run) -> None:
    """Exit code 5."""
    assert chronos("topic", "create", "orders", "--partitions", "2") is Exit.CONFLICT


# ---- publish one -----------------------------------------------------------------------------------


def test_publish_one_event(chronos: Run, broker: FakeBroker, printed: Callable[[], Any]) -> None:
    """Every option reaches the event."""
    options = ["--id", "pay-42", "--key", "u7", "--meta", "a=1", "--meta", "b=x=y"]
    time = ["--at", "2030-01-01T00:00:00Z"]
    assert chronos("publish", "orders", "hello", *options, *time, "--json") is Exit.OK
    assert printed() == [{"message_id": "pay-42", "partition": 0, "offset": 0, "duplicate": False}]
    event = broker.published[0]
    assert (event.payload, event.key, event.meta) == (b"hello", b"u7", {"a": "1", "b": "x=y"})
    assert event.schedule_ts == 1_893_456_000_000


def test_publish_what_expires(chronos: Run, broker: FakeBroker) -> None:
    """At a time, or so long after it is due; not both."""
    chronos("publish", "orders", "x", "--at", "5", "--expires-at", "2030-01-01T00:00:00Z")
    chronos("publish", "orders", "x", "--at", "5", "--expires-after", "1.5s")
    assert [event.expires_ts for event in broker.published] == [1_893_456_000_000, 1505]
    both = ("--expires-at", "9", "--expires-after", "1s")
    assert chronos("publish", "orders", "x", *both) is Exit.USAGE
    assert chronos("publish", "orders", "x", "--at", "5", "--expires-at", "5") is Exit.USAGE


def test_publish_after_a_while(chronos: Run, broker: FakeBroker) -> None:
    """--after counts from now."""
    chronos("publish", "orders", "x", "--after", "1.5s")
    assert broker.published[0].schedule_ts == NOW_MS + 1500


def test_publishing_an_id_again_says_so(chronos: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """A duplicate is no error, and the line tells it from the first."""
    for _ in range(2):
        assert chronos("publish", "orders", "x", "--id", "a") is Exit.OK
    first, second = capsys.readouterr().out.splitlines()
    assert first == "a  partition 0  offset 0"
    assert second == f"{first}  (duplicate: it was stored before)"


def test_an_argument_that_is_not_utf8_stays_as_it_is(chronos: Run, broker: FakeBroker) -> None:
    """The shell's bytes are the payload's bytes."""
    chronos("publish", "orders", b"\xff\xfe".decode(errors="surrogateescape"))
    assert broker.published[0].payload == b"\xff\xfe"


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ([], "give a PAYLOAD, or --file FILE"),
        (["x", "--at", "5", "--after", "5s"], "--at and --after exclude each other"),
        (["x", "--at", "2030-01-01T00:00:00"], "has no time zone"),
        (["x", "--after", "5"], "has no unit"),
        (["x", "--meta", "novalue"], "is not NAME=VALUE"),
        (["x", "--file", "-"], "with --file each line says these itself: payload"),
        (["--file", "/no/such/file"], "No such file"),
        (["x", "--ide", "a"], "--ide"),
        (["x", "--timeout", "0"], "--timeout"),
    ],
)
def test_wrong_usage_is_refused_before_anything_is_sent(
    argv: list[str], says: str, chronos: Run, broker: FakeBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, one line that says what is wrong and where to read on."""
    assert chronos("publish", "orders", *argv) is Exit.USAGE
    error = capsys.readouterr().err
    assert says in error
    assert error.startswith("error: ")
    assert error.endswith('"chronos publish --help" tells more.\n')
    assert not broker.published


# ---- publish many ----------------------------------------------------------------------------------


def test_publish_a_file(
    chronos: Run, broker: FakeBroker, printed: Callable[[], Any], tmp_path: Path
) -> None:
    """One event a line, in order; blank lines are nothing; lines without an id get one."""
    path = lines_file(tmp_path, {"payload": "a", "id": "1"}, "", {"payload": "b", "at": 5})
    assert chronos("publish", "orders", "--file", path, "--json") is Exit.OK
    assert printed() == [{"topic": "orders", "published": 2, "duplicates": 0, "skipped": 0}]
    assert [event.payload for event in broker.published] == [b"a", b"b"]
    assert len(broker.published[1].message_id or "") == 32


def test_publish_from_stdin(
    chronos: Run, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--file - reads stdin, and the last line needs no line break."""
    stdin = io.TextIOWrapper(io.BytesIO(b'{"payload": "a"}\n{"payload": "b"}'))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert chronos("publish", "orders", "--file", "-") is Exit.OK
    assert [event.payload for event in broker.published] == [b"a", b"b"]


def test_a_bad_line_stops_the_file_by_default(
    chronos: Run, broker: FakeBroker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is before the line is stored, the line is named, nothing after it is sent."""
    path = lines_file(tmp_path, {"payload": "a"}, {"payload": 5}, {"payload": "c"})
    assert chronos("publish", "orders", "--file", path) is Exit.ERROR
    out, err = capsys.readouterr()
    assert out == "published 1 event to orders\n"
    assert err.startswith("error: line 2: Expected `str | null`, got `int` - at `$.payload`; mend")
    assert [event.payload for event in broker.published] == [b"a"]


def test_bad_lines_can_be_skipped(
    chronos: Run, broker: FakeBroker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each skipped line is named, the others are stored, and the exit code still tells."""
    path = lines_file(tmp_path, {"payload": "a"}, "{", {"payload": "c"}, {"id": "d"})
    assert chronos("publish", "orders", "--file", path, "--on-error", "skip") is Exit.ERROR
    out, err = capsys.readouterr()
    assert out == "published 2 events to orders\n"
    assert [line.split(":")[0] for line in err.splitlines()] == ["line 2", "line 4", "error"]
    assert err.splitlines()[-1] == "error: 2 lines refused and skipped, as named above"
    assert [event.payload for event in broker.published] == [b"a", b"c"]


@pytest.mark.parametrize("policy", ["stop", "skip"])
def test_a_conflict_is_traced_to_its_line(
    policy: str,
    chronos: Run,
    broker: FakeBroker,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The node refuses the batch; the command finds the line in it."""
    chronos("publish", "orders", "taken", "--id", "7")
    path = lines_file(tmp_path, *({"payload": f"p{n}", "id": str(n)} for n in range(10)))
    code = chronos("publish", "orders", "--file", path, "--on-error", policy)
    assert code is (Exit.CONFLICT if policy == "stop" else Exit.ERROR)
    assert 'line 8: message id "7" is taken by other content' in capsys.readouterr().err
    assert len(broker.stored) == (8 if policy == "stop" else 10)


def test_running_a_file_again_stores_nothing_twice(
    chronos: Run, broker: FakeBroker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lines with ids can be published again after any failure."""
    path = lines_file(tmp_path, {"payload": "a", "id": "1"}, {"payload": "b", "id": "2"})
    chronos("publish", "orders", "--file", path)
    assert chronos("publish", "orders", "--file", path) is Exit.OK
    assert capsys.readouterr().out.endswith(
        "published 2 events to orders, 2 of them stored before\n"
    )
    assert len(broker.stored) == 2


def test_a_file_for_a_topic_that_is_not_there_blames_no_line(
    chronos: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The topic is looked up before the first line is read."""
    path = lines_file(tmp_path, {"payload": "a"})
    assert chronos("publish", "nope", "--file", path) is Exit.NOT_FOUND
    assert "line" not in capsys.readouterr().err


# ---- get -------------------------------------------------------------------------------------------


def test_get_shows_an_event(chronos: Run, printed: Callable[[], Any]) -> None:
    """Everything about it, with a base64 field for bytes that are not text."""
    chronos("publish", "orders", "hello", "--id", "a", "--key", "k", "--at", "5", "--json")
    chronos("get", "orders", "a", "--json")
    assert printed()[1] == {
        "topic": "orders",
        "message_id": "a",
        "state": "fired",
        "partition": 0,
        "offset": 0,
        "schedule_ts": 5,
        "expires_ts": None,
        "published_ts": NOW_MS,
        "key": "k",
        "meta": {},
        "payload": "hello",
    }


def test_get_is_for_people(chronos: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """What others published is shown, not executed by the terminal."""
    chronos("publish", "orders", "\x1b[2Jboo", "--id", "a", "--meta", "k=v")
    chronos("get", "orders", "a")
    out = capsys.readouterr().out
    assert "payload      \\x1b[2Jboo\n" in out
    assert "meta         k=v\n" in out


def test_an_unknown_id_is_not_found(chronos: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 3."""
    assert chronos("get", "orders", "zz") is Exit.NOT_FOUND
    assert capsys.readouterr().err == 'error: topic "orders" has no event "zz"\n'


# ---- consume ---------------------------------------------------------------------------------------


@pytest.fixture
def five(chronos: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Five events in the topic."""
    for n in range(5):
        chronos("publish", "orders", f"p{n}", "--id", str(n), "--at", "5", "--key", "k")
    capsys.readouterr()


@pytest.mark.usefixtures("five")
def test_consume_prints_and_acks_until_idle(
    chronos: Run, broker: FakeBroker, printed: Callable[[], Any]
) -> None:
    """Every event once, then it stops because nothing more comes."""
    assert chronos("consume", "orders", "--group", "g", "--until-idle", "0.01", "--json") is Exit.OK
    events = printed()
    assert [event["payload"] for event in events] == ["p0", "p1", "p2", "p3", "p4"]
    assert events[3] == {
        "topic": "orders",
        "message_id": "3",
        "partition": 0,
        "offset": 3,
        "position": 3,
        "attempt": 1,
        "schedule_ts": 5,
        "expires_ts": None,
        "published_ts": NOW_MS,
        "lateness_ms": 2,
        "key": "k",
        "meta": {},
        "payload": "p3",
    }
    assert broker.acked == ["0", "1", "2", "3", "4"]


@pytest.mark.usefixtures("five")
def test_consume_stops_at_the_count(
    chronos: Run, broker: FakeBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exactly so many are printed and acked, and no more are leased."""
    assert chronos("consume", "orders", "--group", "g", "--count", "3") is Exit.OK
    assert capsys.readouterr().out.splitlines()[2] == (
        "1970-01-01T00:00:00.005Z  +2ms  0/2  2  key=k  p2"
    )
    assert broker.acked == ["0", "1", "2"]
    assert broker.terms == {"group": "g", "credits": 3, "mode": "ordered", "start": "earliest"}


@pytest.mark.usefixtures("five")
def test_consume_can_only_look(chronos: Run, broker: FakeBroker) -> None:
    """With --no-ack nothing is settled, and all credits are there at the start."""
    argv = ["consume", "orders", "--group", "g", "--no-ack", "--count", "5"]
    assert chronos(*argv, "--mode", "shared", "--start", "1970-01-01T00:00:01Z") is Exit.OK
    assert broker.acked == []
    assert broker.terms == {"group": "g", "credits": 5, "mode": "shared", "start": 1000}


@pytest.mark.usefixtures("five")
def test_what_stdout_did_not_take_is_not_acked(
    chronos: Run, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`chronos consume | head -1` settles only what was written, and ends quietly."""
    monkeypatch.setattr(sys, "stdout", HalfClosed())
    assert chronos("consume", "orders", "--group", "g") is Exit.BROKEN_PIPE
    assert broker.acked == ["0", "1"]


class HalfClosed(io.StringIO):
    """A pipe whose reader goes away after the first two events."""

    def write(self, text: str) -> int:
        if "p2" in text:
            raise BrokenPipeError
        return len(text)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--group", "g", "--follow", "--until-idle", "1"], "exclude each other"),
        (["--group", "g", "--no-ack"], "--no-ack needs --count"),
        (["--group", "g", "--start", "noon"], "is no time"),
        ([], "--group"),
    ],
)
def test_consume_refuses_what_makes_no_sense(
    argv: list[str], says: str, chronos: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 and the reason."""
    assert chronos("consume", "orders", *argv) is Exit.USAGE
    assert says in capsys.readouterr().err


# ---- the way to the node -----------------------------------------------------------------------------


def test_no_node_is_exit_code_4(capsys: pytest.CaptureFixture[str]) -> None:
    """The line says what to do."""
    broker = refusing(ConnectionLost("cannot connect to 127.0.0.1:9000: connection refused"))
    assert run(["topic", "list"], connect=broker.connect) is Exit.UNREACHABLE
    assert capsys.readouterr().err == (
        "error: cannot connect to 127.0.0.1:9000: connection refused; start a node with"
        " chronos-node, or name a running one with --server HOST:PORT\n"
    )


def test_a_full_node_is_exit_code_6() -> None:
    """A script can tell what may succeed later."""
    assert run(["topic", "list"], connect=refusing(Overloaded("x")).connect) is Exit.TRY_AGAIN


def test_the_innermost_server_wins_and_flags_win_over_variables(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--server after the command, then before it, then CHRONOS_SERVER."""
    monkeypatch.setenv("CHRONOS_SERVER", "variable:1")
    monkeypatch.setenv("CHRONOS_TIMEOUT", "2.5")
    used = []
    before, after = ["--server", "before:1"], ["--server", "after:1"]
    for outer, inner in ([], []), (before, []), (before, after):
        run([*outer, "topic", "list", *inner], connect=broker.connect)
        used.append(broker.connected_to)
    assert used == ["variable:1", "before:1", "after:1"]
    assert broker.timeout_s == 2.5
