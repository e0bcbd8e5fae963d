"""`python -m tests.proof check FILE…`: judge histories, print a table, exit with 1 if a promise is broken."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from tests.proof.checker import check
from tests.proof.history import Line, read_history
from tests.proof.screen import print_verdict


@click.group()
def main() -> None:
    """Histories of tests, judged against the promises of design §4."""


@main.command("check")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
def check_files(files: tuple[Path, ...]) -> None:
    """Judge each FILE by itself."""
    console = Console(width=140, highlight=False)
    kept = True
    for path in files:
        verdict = check(_watched(path))
        print_verdict(console, path, verdict)
        kept &= verdict.kept
    sys.exit(not kept)


def _watched(path: Path) -> Iterator[Line]:
    """The lines, with a bar on a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield from read_history(path)
        return
    with Progress(console=console, transient=True) as bar, path.open("rb") as lines:
        task = bar.add_task(path.name, total=path.stat().st_size)

        def counted() -> Iterator[bytes]:
            for raw in lines:
                bar.advance(task, len(raw))
                yield raw

        yield from read_history(counted())


if __name__ == "__main__":
    main()
