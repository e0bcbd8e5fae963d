"""`chronos demo`: finds the records, plays the story, and exits with 1 if any promise was broken."""

from __future__ import annotations

import datetime as dt
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Final

import click
import trio
from rich.console import Console

from chronosdb.client.cli.context import App, Command, pass_app
from chronosdb.client.cli.exits import Failure
from chronosdb.client.cli.output import printable
from chronosdb.client.seams import Seams
from chronosdb.node.demo.audit import gather, read_histories
from chronosdb.node.demo.child import NodeProcess
from chronosdb.node.demo.cluster import play_cluster
from chronosdb.node.demo.report import Report, make_report
from chronosdb.node.demo.screen import Lines, Picture, Screen, Silence, print_report
from chronosdb.node.demo.sources import Entry, NoInput, Source, find_source, read_file
from chronosdb.node.demo.story import GROUP, Story
from chronosdb.node.demo.timetable import liveliest
from chronosdb.wal import DataDir, OsDisk

_LOG_DIR: Final = Path("/var/log")
_LINE_CHARS: Final = 160
#: Of the cluster's story: with all nodes, without one, with all again.
_ACTS: Final = 6


@click.command(cls=Command)
@click.option(
    "--input",
    "path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Play this log instead: any file whose lines begin with a time.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(2, 3600),
    default=30,
    show_default=True,
    help="Compress the records into so long.",
)
@click.option(
    "--limit",
    type=click.IntRange(2, 20_000),
    default=3000,
    show_default=True,
    help="Play at most so many records.",
)
@click.option("--keep", is_flag=True, help="Leave the node's data directory for a look at it.")
@click.option(
    "--cluster",
    is_flag=True,
    help="Three nodes instead, of which one dies; on a terminal they stay up until Ctrl-C.",
)
@pass_app
def demo(
    app: App, *, path: Path | None, seconds: float, limit: int, keep: bool, cluster: bool
) -> None:
    """Watch a real node fire real records on time, die by kill -9, come back, and lose nothing.

    The records are those of this machine's package manager, or of a git history: real ones, with
    their real times, compressed into half a minute. Exits with 1 if any promise was broken.
    """
    if cluster:
        with _directory(keep=keep) as directory:
            stay = sys.stdout.isatty() and not app.json
            play_cluster(app, directory, seconds / _ACTS, stay=stay)
        return
    try:
        source = read_file(path) if path else find_source(_LOG_DIR, _repositories())
    except NoInput as error:
        raise Failure(str(error)) from None
    entries = liveliest(source.entries, limit)
    title = _title(source, entries, seconds)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _LINE_CHARS
    with _directory(keep=keep) as directory:
        with _screen(app, console, title, round(seconds * 1000)) as screen:
            report = _play(screen, directory, entries, round(seconds * 1000))
        _tell(app, console, report)
        if keep:
            app.output.note(f"the node's data is in {directory}/data, what it said in node.log")


def _play(screen: Screen, directory: Path, entries: Sequence[Entry], span_ms: int) -> Report:
    """One performance, and what the logs say of it."""
    node = NodeProcess(directory / "data", directory / "node.log", ("--http", "off"))
    story = Story(node, screen, Seams().now_ms)
    exit_code = trio.run(_until_told, story, entries, span_ms)
    screen.say("reading the logs")
    logs = DataDir(str(node.data_dir)).partitions
    return make_report(story.tally, gather(read_histories(OsDisk(), logs), GROUP), exit_code)


async def _until_told(story: Story, entries: Sequence[Entry], span_ms: int) -> int:
    """Play; on SIGTERM the node goes down with us instead of staying behind."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_raise_on_sigterm)
        exit_code = await story.play(entries, span_ms)
        nursery.cancel_scope.cancel()
    return exit_code


async def _raise_on_sigterm() -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGHUP) as signals:
        async for received in signals:
            raise Failure(f"ended by {signal.Signals(received).name}")


def _tell(app: App, console: Console, report: Report) -> None:
    if app.json:
        app.output.json({**asdict(report), "kept": report.kept})
    else:
        print_report(console, report)
    if not report.kept:
        broken = [promise.name for promise in report.promises if not promise.kept]
        raise Failure(f"broken: {', '.join(broken)}")


def _screen(app: App, console: Console, title: str, span_ms: int) -> AbstractContextManager[Screen]:
    if app.json:
        return nullcontext(Silence())
    if console.is_terminal:
        return Picture(console, title, span_ms)
    console.print(title, markup=False, soft_wrap=True)
    return nullcontext(Lines(console))


def _title(source: Source, entries: Sequence[Entry], seconds: float) -> str:
    first, last = (_local_time(entry.recorded_ms) for entry in (entries[0], entries[-1]))
    return printable(
        f"ChronosDB demo: {len(entries):,} of {len(source.entries):,} records of {source.name},"
        f" {first} to {last}, in {seconds:g} s"
    )


def _local_time(ms: int) -> str:
    time = dt.datetime.fromtimestamp(ms / 1000, dt.UTC).astimezone()
    return time.strftime("%Y-%m-%d %H:%M:%S")


def _repositories() -> list[Path]:
    """Where a git history may be: around here, and around this source code."""
    return [Path.cwd(), Path(__file__).parent]


@contextmanager
def _directory(*, keep: bool) -> Iterator[Path]:
    """A new directory, removed at the end unless it is to be kept."""
    directory = Path(tempfile.mkdtemp(prefix="chronos-demo-"))
    try:
        yield directory
    finally:
        if not keep:
            shutil.rmtree(directory)
