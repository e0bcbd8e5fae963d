"""Real input: records that nobody here wrote, each with the time at which it really happened.

Any text will do in which lines carry a time near their beginning: the machine's package manager logs,
a web server's access log, any file given by the user. Else the history of a git repository.
"""

from __future__ import annotations

import datetime as dt
import gzip
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

#: The package managers' logs, by name; older parts end in .1, .2.gz and so on.
_PACKAGE_LOGS: Final = ("dpkg.log", "dnf.rpm.log", "pacman.log", "zypp/history", "apt/history.log")
#: With fewer records a source is only taken when there is no better one.
_ENOUGH_RECORDS: Final = 50
_TEXT_CHARS_MAX: Final = 4096
_ID_PART_CHARS: Final = 60
#: A zero byte, the time, a tab, a title; then a line for each file.
_GIT_LOG: Final = (
    *("log", "--max-count=5000", "--name-status"),
    "--format=%x00%ct%x09%cI %h %an: %s",
)
_ISO_TIME: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[ T]{1,2}(\d\d:\d\d:\d\d(?:[.,]\d{1,6})?) ?(Z|[+-]\d\d:?\d\d)?"
)
_WEB_TIME: Final = re.compile(r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}")
#: A time further into a line is part of what it says, not when it was said.
_TIME_WITHIN_CHARS: Final = 100


@dataclass(frozen=True, slots=True)
class Entry:
    """One record."""

    #: Unique in its source, and the same at every reading.
    id: str
    #: Epoch ms at which it happened.
    recorded_ms: int
    text: str


@dataclass(frozen=True, slots=True)
class Source:
    """Where records come from."""

    name: str
    #: In order of time.
    entries: list[Entry]


class NoInput(Exception):
    """There is nothing to show; the message says what was looked at."""


def find_source(log_dir: Path, repositories: Iterable[Path]) -> Source:
    """The first good source of this machine: package manager logs, else a git history.

    Raises:
        NoInput: not even two records anywhere.
    """
    best: Source | None = None
    for read in _candidates(log_dir, repositories):
        source = read()
        if len(source.entries) >= _ENOUGH_RECORDS:
            return source
        if best is None or len(source.entries) > len(best.entries):
            best = source
    if best is None or len(best.entries) < 2:
        raise NoInput(
            f"neither a package manager's log in {log_dir} nor a git history here; name any file"
            " whose lines begin with a time: --input FILE"
        )
    return best


def read_file(path: Path) -> Source:
    """The records of one file.

    Raises:
        NoInput: it has fewer than two, or cannot be read.
    """
    source = _read_logs(str(path), [path])
    if len(source.entries) < 2:
        raise NoInput(
            f"{path} has no two lines with a time such as 2026-01-31 08:00:00 or"
            " 31/Jan/2026:08:00:00 +0000 near their beginning"
        )
    return source


def parse_log(name: str, text: str) -> Iterator[Entry]:
    """The records of a log. A line without a time belongs to the record before it."""
    entry: Entry | None = None
    for number, line in enumerate(text.splitlines(), 1):
        recorded_ms = _time_in(line[:_TIME_WITHIN_CHARS])
        if recorded_ms is not None:
            if entry is not None:
                yield entry
            entry = Entry(f"{name}:{number}", recorded_ms, line[:_TEXT_CHARS_MAX])
        elif entry is not None and line.strip():
            text = f"{entry.text}\n{line}"[:_TEXT_CHARS_MAX]
            entry = Entry(entry.id, entry.recorded_ms, text)
    if entry is not None:
        yield entry


def parse_git(output: str) -> Iterator[Entry]:
    """One record for each commit, and one for each file that it touched, at the commit's time."""
    for commit in output.split("\0")[1:]:
        head, *files = filter(None, commit.splitlines())
        seconds, _, title = head.partition("\t")
        when, commit_id, _ = title.split(" ", 2)
        for number, text in enumerate((title, *(f"{when} {commit_id} {file}" for file in files))):
            yield Entry(f"{commit_id}.{number}", int(seconds) * 1000, text[:_TEXT_CHARS_MAX])


def _candidates(log_dir: Path, repositories: Iterable[Path]) -> Iterator[Callable[[], Source]]:
    for name in _PACKAGE_LOGS:
        paths = sorted(log_dir.glob(f"{name}*"))
        if paths:
            yield partial(_read_logs, str(log_dir / name), paths)
    for directory in repositories:
        yield partial(_read_git, directory)


def _read_logs(name: str, paths: Iterable[Path]) -> Source:
    entries = [entry for path in paths for entry in parse_log(_id_part(path), _read_text(path))]
    return _in_order(name, entries)


def _id_part(path: Path) -> str:
    """A file's name, fit for a message id: the end of it, in ASCII."""
    return path.name.encode("ascii", "replace").decode()[-_ID_PART_CHARS:]


def _read_git(directory: Path) -> Source:
    """The history of the repository around `directory`; without records if there is none."""
    git = shutil.which("git")
    if git is None:
        return Source("git", [])
    command = (git, "-C", str(directory), *_GIT_LOG)
    found = subprocess.run(command, capture_output=True, check=False, text=True, errors="replace")  # noqa: S603 - no shell, and not a word of it from outside
    return _in_order(f"the git history of {directory}", parse_git(found.stdout))


def _in_order(name: str, entries: Iterable[Entry]) -> Source:
    return Source(name, sorted(entries, key=lambda entry: entry.recorded_ms))


def _read_text(path: Path) -> str:
    """A log's text; empty if this user may not read it."""
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError):
        return ""
    return content.decode(errors="replace")


def _time_in(text: str) -> int | None:
    """The time in the beginning of a line; one without a zone is this machine's local time."""
    if found := _ISO_TIME.search(text):
        date, time, zone = found.groups()
        when = f"{date}T{time.replace(',', '.')}{zone or ''}"
        return _epoch_ms(lambda: dt.datetime.fromisoformat(when))
    if found := _WEB_TIME.search(text):
        return _epoch_ms(lambda: dt.datetime.strptime(found[0], "%d/%b/%Y:%H:%M:%S %z"))
    return None


def _epoch_ms(parse: Callable[[], dt.datetime]) -> int | None:
    """Epoch ms of what `parse` returns, None for a date that is none (2026-02-31)."""
    try:
        return round(parse().timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
