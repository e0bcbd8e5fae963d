"""`chronos log` on real files: what it finds, and what it prints of a record."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chronosdb.client.cli.app import run
from chronosdb.client.cli.exits import Exit
from chronosdb.node.partition import records
from chronosdb.wal import Log, LogOptions, OsDisk
from chronosdb.wire import EventBatch, Row, encode_batch

Read = Callable[[], Any]

LOG_ID = bytes(range(16))


def write_log(directory: Path) -> Path:
    """A log of two batches (three events and one) and the start of an epoch."""
    log = Log.open(OsDisk(), str(directory), LogOptions(), log_id=LOG_ID)
    rows = [Row(b"id-%d" % n, 1000 + n, b"", b"", b"payload-%d" % n) for n in range(4)]
    for batch in (rows[:3], rows[3:]):
        log.append([records.publish(EventBatch(encode_batch(batch)), 500, 1)])
    log.append([records.epoch_begins("n1", 1002, 2)])
    log.sync()
    log.close()
    return directory


def damage(log: Path) -> None:
    """Flip a bit of the first payload."""
    (segment,) = log.glob("*.log")
    content = bytearray(segment.read_bytes())
    content[content.index(b"payload-0")] ^= 1
    segment.write_bytes(content)


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Read:
    """The JSON objects on stdout."""
    return lambda: [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A node's data directory with two partitions."""
    for partition in ("1-0", "1-1"):
        write_log(tmp_path / "partitions" / partition)
    return tmp_path


def test_verify_walks_a_whole_data_directory(data_dir: Path, printed: Read) -> None:
    """Each log has a report; whole logs are exit code 0."""
    assert run(["log", "verify", str(data_dir), "--json"]) == Exit.OK
    reports = printed()
    assert [(report["ok"], report["records"]) for report in reports] == [(True, 3)] * 2
    assert [Path(report["directory"]).name for report in reports] == ["1-0", "1-1"]


def test_verify_reports_damage(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A flipped bit is found, named, and exit code 1; the other log is reported as whole."""
    damage(data_dir / "partitions" / "1-1")
    assert run(["log", "verify", str(data_dir)]) == Exit.ERROR
    out, err = capsys.readouterr()
    assert "DAMAGED:" in out
    assert "\nok\n" in out
    assert err.startswith("error: damage in 1 of 2 logs")


def test_a_log_that_lost_its_oldest_segments_is_whole(tmp_path: Path, printed: Read) -> None:
    """Verify and dump begin where the log does; below that there is nothing to print."""
    options = LogOptions(segment_bytes=1024, max_record_bytes=512)
    log = Log.open(OsDisk(), str(tmp_path), options, log_id=LOG_ID)
    for n in range(20):
        batch = EventBatch(encode_batch([Row(b"id-%d" % n, 1000, b"", b"", b"x")]))
        log.append([records.publish(batch, 500, 1)])
    log.drop_before(log.end_lsn)
    start = log.segments()[0].start
    log.close()
    assert 0 < start.offset < 20
    assert run(["log", "verify", str(tmp_path), "--json"]) == Exit.OK
    (report,) = printed()
    assert (report["ok"], report["start_lsn"], report["notes"]) == (True, start.lsn, [])
    assert run(["log", "dump", str(tmp_path), "--json"]) == Exit.OK
    assert [line["offset"] for line in printed()] == list(range(start.offset, 20))
    assert run(["log", "dump", str(tmp_path), "--from-offset", "0"]) == Exit.ERROR


def test_verify_changes_nothing(data_dir: Path) -> None:
    """The files are the same afterwards, byte for byte."""

    def content() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in data_dir.rglob("*") if path.is_file()}

    before = content()
    run(["log", "verify", str(data_dir)])
    assert content() == before


def test_dump_prints_each_record(tmp_path: Path, printed: Read) -> None:
    """Header and body, in log order."""
    assert run(["log", "dump", str(write_log(tmp_path)), "--json"]) == Exit.OK
    first, second, epoch = printed()
    assert first["kind"] == second["kind"] == "publish"
    assert first["events"][1] == {"offset": 1, "message_id": "id-1", "schedule_ts": 1001}
    assert (second["offset"], second["events"][0]["offset"]) == (3, 3)
    assert (epoch["kind"], epoch["node_id"], epoch["ts_ms"]) == ("epoch", "n1", 1002)


def test_dump_shows_payloads_when_asked(tmp_path: Path, printed: Read) -> None:
    """--payload adds what was published."""
    run(["log", "dump", str(write_log(tmp_path)), "--json", "--payload", "--limit", "1"])
    (record,) = printed()
    assert [event["payload"] for event in record["events"]] == [
        "payload-0",
        "payload-1",
        "payload-2",
    ]


@pytest.mark.parametrize(("offset", "first"), [(0, 0), (2, 0), (3, 3)])
def test_dump_begins_where_it_is_told(
    offset: int, first: int, tmp_path: Path, printed: Read
) -> None:
    """The first record printed is the one that adds the offset."""
    argv = ["log", "dump", str(write_log(tmp_path)), "--from-offset", str(offset), "--limit", "1"]
    run([*argv, "--json"])
    assert [record["offset"] for record in printed()] == [first]


def test_dump_is_one_line_a_record_for_people(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Place, time and kind first."""
    run(["log", "dump", str(write_log(tmp_path))])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0].split()[:3] == ["0", "1970-01-01T00:00:00.500Z", "publish"]


def test_dump_stops_at_damage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong bytes are never printed; the line says where to look further."""
    log = write_log(tmp_path)
    damage(log)
    assert run(["log", "dump", str(log)]) == Exit.ERROR
    out, err = capsys.readouterr()
    assert "payload" not in out
    assert "chronos log verify" in err


def test_an_offset_that_is_not_there_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line names the offsets there are."""
    assert run(["log", "dump", str(write_log(tmp_path)), "--from-offset", "99"]) == Exit.ERROR
    assert "offset 99 is outside the log, 0 to 4" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["verify", "dump"])
def test_a_directory_without_a_log_is_not_found(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 3: it is the wrong directory, not an empty log."""
    assert run(["log", command, str(tmp_path)]) == Exit.NOT_FOUND
    assert "there is no log in" in capsys.readouterr().err


def test_dump_wants_one_log(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a directory with several it names them."""
    assert run(["log", "dump", str(data_dir)]) == Exit.USAGE
    err = capsys.readouterr().err
    assert "holds 2 logs; name one:" in err
    assert "partitions/1-0" in err
