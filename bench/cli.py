"""The command line: `python -m bench [PIECE] [OPTIONS]`."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console

from bench.case import Piece, Result, run_piece
from bench.errors import BenchError
from bench.lab import Lab
from bench.pieces import burst, drain, latency, lateness, memory, publish, replication, restart
from bench.report import print_machine, print_piece, write_json

PIECES: Final[Mapping[str, Callable[..., Piece]]] = {
    "publish": publish.piece,
    "latency": latency.piece,
    "drain": drain.piece,
    "lateness": lateness.piece,
    "burst": burst.piece,
    "memory": memory.piece,
    "restart": restart.piece,
    "replication": replication.piece,
}

#: What the parameters of pieces mean; a parameter's default is the default of its option.
_HELP: Final = {
    "events": "How many events.",
    "callers": "Requests in flight at one time.",
    "batch": "Events per request; may be repeated.",
    "rate": "Events a second; may be repeated where it is a list.",
    "seconds": "How long a case goes on.",
}

#: Less than this would measure nothing but the start; elsewhere 1 is enough.
_LEAST: Final = {"events": 1000}


class _AllByDefault(click.Group):
    """No piece named means all of them."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args != ["--help"] and (not args or args[0].startswith("-")):
            args = ["all", *args]
        return super().parse_args(ctx, args)


def _piece_command(name: str, build: Callable[..., Piece]) -> click.Command:
    """A command for one piece: each parameter of `build` is an option."""

    def measure(runs: int | None, json_path: Path | None, **sizes: Any) -> None:
        sys.exit(_measure([build(**sizes)], runs, json_path))

    options = [_option(size) for size in inspect.signature(build).parameters.values()]
    about = inspect.getdoc(sys.modules[build.__module__])
    return click.Command(name, params=[*options, *_shared_options()], callback=measure, help=about)


def _all_command() -> click.Command:
    def measure(runs: int | None, json_path: Path | None) -> None:
        sys.exit(_measure([build() for build in PIECES.values()], runs, json_path))

    about = "All pieces, with their default sizes."
    return click.Command("all", params=_shared_options(), callback=measure, help=about)


def _option(size: inspect.Parameter) -> click.Option:
    """A number, or for a tuple any number of numbers."""
    several = isinstance(size.default, tuple)
    kind = type(size.default[0] if several else size.default)
    number = click.IntRange if kind is int else click.FloatRange
    return click.Option(
        [f"--{size.name}"],
        type=number(min=_LEAST.get(size.name, 1)),
        multiple=several,
        default=size.default,
        show_default=True,
        help=_HELP[size.name],
    )


def _shared_options() -> list[click.Parameter]:
    return [
        click.Option(
            ["--runs"],
            type=click.IntRange(min=1),
            help="How often each case is measured.  [default: 3; memory: 1]",
        ),
        click.Option(
            ["--json", "json_path"],
            type=click.Path(dir_okay=False, writable=True, path_type=Path),
            help="Write every run to this file.",
        ),
    ]


def _measure(pieces: Sequence[Piece], runs: int | None, json_path: Path | None) -> int:
    """Measure and print one piece after the other; the exit code says whether all could be."""
    # Tables are wider than the 80 columns that rich assumes where there is no terminal.
    console = Console(width=None if sys.stdout.isatty() else 130)
    print_machine(console)
    found: dict[str, list[Result]] = {}
    with Lab() as lab:
        for piece in pieces:
            try:
                with console.status(piece.name) as status:
                    found[piece.name] = run_piece(lab, piece, runs or piece.runs, status.update)
            except BenchError as error:
                console.print(f"{piece.name}: {error}", style="red")
            else:
                print_piece(console, piece, found[piece.name])
    if json_path is not None:
        write_json(json_path, found)
    return 0 if len(found) == len(pieces) else 1


main: Final = _AllByDefault(
    commands=[_all_command(), *(_piece_command(name, build) for name, build in PIECES.items())],
    help="""Measure a real chronos-node through the client library, on the disk that TMPDIR names.

    Without a COMMAND: all of them, with their default sizes.
    """,
)
