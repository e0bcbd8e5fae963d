"""The demo's input: real times found in real formats, and their spacing kept."""

from __future__ import annotations

import datetime as dt
import gzip
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronosdb.node.demo.sources import Entry, NoInput, find_source, parse_log, read_file
from chronosdb.node.demo.timetable import Timetable, liveliest

NOON_MS = int(dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC).timestamp() * 1000)


def at(*seconds: int) -> list[Entry]:
    """One entry at each of these seconds."""
    return [Entry(f"log:{n}", s * 1000, "") for n, s in enumerate(seconds)]


@pytest.mark.parametrize(
    ("line", "after_noon_ms"),
    [
        ("2026-01-31T12:00:00Z INFO started", 0),
        ("2026-01-31T12:00:01.250+00:00 INFO started", 1250),
        ("[2026-01-31T13:00:00+0100] [ALPM] installed zlib", 0),
        ("2026-01-31 14:00:00,5 +02:00 WARN", 500),
        ('10.0.0.1 - - [31/Jan/2026:12:00:02 +0000] "GET / HTTP/1.1" 200', 2000),
    ],
)
def test_times_in_the_formats_of_the_world(line: str, after_noon_ms: int) -> None:
    """ISO-8601 in its many spellings, and the web servers' own."""
    [entry] = parse_log("log", line)
    assert (entry.recorded_ms - NOON_MS, entry.text) == (after_noon_ms, line)


def test_a_time_without_a_zone_is_local() -> None:
    """As those who wrote the log meant it."""
    [entry] = parse_log("dpkg.log", "2026-01-31 12:00:00 status installed zlib1g:amd64")
    local = dt.datetime(2026, 1, 31, 12).astimezone()
    assert entry.recorded_ms == local.timestamp() * 1000


def test_lines_without_a_time_belong_to_the_one_before() -> None:
    """Stanzas and tracebacks stay whole; ids are line numbers; impossible dates are no times."""
    text = "headline\nStart-Date: 2026-01-31 12:00:00Z\nInstall: zlib\n\n2026-02-31 12:00:00Z no\n"
    [entry] = parse_log("history.log", text)
    assert (entry.id, entry.recorded_ms) == ("history.log:2", NOON_MS)
    assert entry.text.splitlines()[1:] == ["Install: zlib", "2026-02-31 12:00:00Z no"]


def test_rotated_and_compressed_logs_are_one_source(tmp_path: Path) -> None:
    """dpkg.log.2.gz, dpkg.log.1 and dpkg.log together, in order of time."""
    (tmp_path / "dpkg.log").write_text("2026-01-03 08:00:00 c\n" * 60)
    (tmp_path / "dpkg.log.1").write_text("2026-01-02 08:00:00 b\n")
    (tmp_path / "dpkg.log.2.gz").write_bytes(gzip.compress(b"2026-01-01 08:00:00 a\n"))
    source = find_source(tmp_path, [])
    assert [entry.text[-1] for entry in source.entries] == ["a", "b", *"c" * 60]
    assert len({entry.id for entry in source.entries}) == 62


def test_the_history_of_a_repository_will_do(tmp_path: Path) -> None:
    """Without logs: one record for each commit and one for each file it touched."""
    (tmp_path / "one.txt").write_text("1")
    identity = {
        f"GIT_{who}_{what}": "me@here"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    when = {"GIT_COMMITTER_DATE": "2026-01-31T12:00:00Z", "GIT_CONFIG_GLOBAL": os.devnull}
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "the first"]):
        subprocess.run(
            ["git", *words], cwd=tmp_path, check=True, env={**os.environ, **identity, **when}
        )
    source = find_source(tmp_path / "no-logs", [tmp_path])
    assert [entry.recorded_ms for entry in source.entries] == [NOON_MS, NOON_MS]
    assert source.entries[0].text.endswith("me@here: the first")
    assert source.entries[1].text.endswith("A\tone.txt")


def test_any_file_name_makes_an_id(tmp_path: Path) -> None:
    """Long names and foreign ones stay within what a message id may be."""
    path = tmp_path / f"{'ü' * 120}.log"
    path.write_text("2026-01-31 12:00:00 a\n2026-01-31 12:00:01 b\n")
    assert [entry.id for entry in read_file(path).entries] == [
        f"{'?' * 56}.log:{n}" for n in (1, 2)
    ]


def test_nothing_to_show_says_what_to_do(tmp_path: Path) -> None:
    """No logs and no repository, or a file without times: the message names the way out."""
    with pytest.raises(NoInput, match="--input FILE"):
        find_source(tmp_path, [tmp_path])
    (tmp_path / "poem").write_text("no time\nno time at all\n")
    with pytest.raises(NoInput, match="poem has no two lines with a time"):
        read_file(tmp_path / "poem")


def test_a_burst_is_preferred_to_the_silence_around_it() -> None:
    """Three entries a month apart and a minute of work: the minute is played."""
    month = 30 * 86_400
    entries = at(0, month, *range(2 * month, 2 * month + 60), 3 * month)
    assert [e.recorded_ms // 1000 for e in liveliest(entries, 1000)] == list(
        range(2 * month, 2 * month + 60)
    )


def test_no_more_than_the_limit_is_played() -> None:
    """A long steady log is cut."""
    assert len(liveliest(at(*range(500)), 100)) == 100


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=50), st.integers(1, 100_000))
def test_the_spacing_is_kept(times_ms: list[int], span_ms: int) -> None:
    """Due times are the recorded times on another scale, from start to span, to the millisecond."""
    entries = [Entry(str(n), time, "") for n, time in enumerate(sorted(times_ms))]
    table = Timetable(entries, NOON_MS, span_ms)
    first, whole = entries[0].recorded_ms, table.recorded_ms
    for entry, due_ms in zip(entries, table.due_ms, strict=True):
        share = (entry.recorded_ms - first) / whole if whole else 0
        assert abs(due_ms - NOON_MS - share * span_ms) <= 1
