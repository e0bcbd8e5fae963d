"""What the commands that put a load on nodes have in common: a display of how it goes, and a place on disk."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
import trio
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from tests.process.mixed_world import World

_LINE_EVERY_S: Final = 15


async def telling(world: World, tell: Callable[[World, float], None]) -> None:
    """Tells once a second how it goes, for ever."""
    began_s = trio.current_time()
    while True:
        tell(world, trio.current_time() - began_s)
        await trio.sleep(1)


@contextmanager
def progress(
    title: str, seconds: float, how: Callable[[World], str]
) -> Iterator[Callable[[World, float], None]]:
    """A bar with live counters on a terminal, a line now and then elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda world, at_s: _note(console, how(world), at_s)
        return
    columns = (TextColumn(title), BarColumn(), TimeElapsedColumn())
    text = TextColumn("{task.fields[how]}")
    with Progress(*columns, text, console=console, transient=True) as bar:
        task = bar.add_task("", total=seconds, how="")
        yield lambda world, at_s: bar.update(task, completed=min(at_s, seconds), how=how(world))


def _note(console: Console, how: str, at_s: float) -> None:
    if round(at_s) % _LINE_EVERY_S == 0:
        console.print(f"{at_s:4.0f} s: {how}", highlight=False)


@dataclass(slots=True)
class Workplace:
    """Where a run has its history and its data."""

    path: Path
    #: Whoever can do without them says so.
    keep: bool = True


@contextmanager
def workplace(prefix: str) -> Iterator[Workplace]:
    """A new directory, removed at the end unless it is to be kept."""
    place = Workplace(Path(tempfile.mkdtemp(prefix=prefix)))
    try:
        yield place
    finally:
        if place.keep:
            click.echo(f"kept: {place.path}", err=True)
        else:
            shutil.rmtree(place.path)
