"""The command line: `python -m bench [PIECE] [OPTIONS]`."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import click

from bench.case import Piece
from bench.errors import BenchError
from bench.measuring import measure
from bench.peers import suite
from bench.pieces import (
    burst,
    drain,
    idle,
    latency,
    lateness,
    partitions,
    pending,
    publish,
    replay,
    replication,
    restart,
    workers,
)
from bench.plots import draw
from bench.record import read_record

PIECES: Final[Mapping[str, Callable[..., Piece]]] = {
    "publish": publish.piece,
    "latency": latency.piece,
    "drain": drain.piece,
    "replay": replay.piece,
    "lateness": lateness.piece,
    "burst": burst.piece,
    "pending": pending.piece,
    "restart": restart.piece,
    "partitions": partitions.piece,
    "idle": idle.piece,
    "replication": replication.piece,
    "workers": workers.piece,
}

#: Mostly rest, minutes of it: measured only when asked for by name.
_APART: Final = {"idle"}

#: What the parameters of pieces mean; a parameter's default is the default of its option.
_HELP: Final = {
    "events": "How many events.",
    "callers": "Requests in flight at one time; may be repeated where it is a list.",
    "batch": "Events per request; may be repeated where it is a list.",
    "rate": "Events a second; may be repeated where it is a list.",
    "seconds": "How long a case goes on.",
    "topics": "How many topics; may be repeated.",
    "groups": "How many groups.",
    "count": "Partitions, workers, or events that are pending; may be repeated.",
}

#: Less than this would measure nothing but the start; elsewhere 1 is enough.
_LEAST: Final = {"events": 1000}


class _AllByDefault(click.Group):
    """No piece named means all of them; what cannot be measured ends with its reason."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args != ["--help"] and (not args or args[0].startswith("-")):
            args = ["all", *args]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BenchError as error:
            raise click.ClickException(str(error)) from None


def _piece_command(name: str, build: Callable[..., Piece]) -> click.Command:
    """A command for one piece: each parameter of `build` is an option."""

    def callback(runs: int | None, json_path: Path | None, record: bool, **sizes: Any) -> None:
        sys.exit(measure([build(**sizes)], runs, json_path, "bench" if record else None))

    options = [_option(size) for size in inspect.signature(build).parameters.values()]
    about = inspect.getdoc(sys.modules[build.__module__])
    return click.Command(name, params=[*options, *_shared_options()], callback=callback, help=about)


def _all_command() -> click.Command:
    def callback(runs: int | None, json_path: Path | None, record: bool) -> None:
        pieces = [build() for name, build in PIECES.items() if name not in _APART]
        sys.exit(measure(pieces, runs, json_path, "bench" if record else None))

    about = f"All pieces but {', '.join(_APART)}, with their default sizes."
    return click.Command("all", params=_shared_options(), callback=callback, help=about)


def _peers_command() -> click.Command:
    def callback(runs: int | None, json_path: Path | None, record: bool, **chosen: Any) -> None:
        pieces, missing = suite.pieces(**chosen)
        for reason in missing:
            click.echo(f"left out: {reason}", err=True)
        sys.exit(measure(pieces, runs, json_path, "peers" if record else None))

    works, peers = click.Choice(list(suite.WORKS)), click.Choice(list(suite.CONTESTANTS))
    several: list[click.Parameter] = [
        click.Option(["--work", "works"], type=works, multiple=True, help="Only this one."),
        click.Option(["--peer", "peers"], type=peers, multiple=True, help="Only this, and us."),
        click.Option(
            ["--scale"],
            type=click.FloatRange(min=0.001),
            default=1.0,
            help="Times the usual number of events.",
        ),
    ]
    about = inspect.getdoc(suite)
    return click.Command(
        "peers", params=[*several, *_shared_options()], callback=callback, help=about
    )


def _plot_command() -> click.Command:
    def callback(results: Path, to: Path) -> None:
        for path in draw(read_record(results), results.stem, to):
            click.echo(path)

    path = click.Path(path_type=Path)
    return click.Command(
        "plot",
        params=[
            click.Argument(["results"], type=click.Path(exists=True, path_type=Path)),
            click.Option(["--to"], type=path, default=".", help="The directory for the plots."),
        ],
        callback=callback,
        help="Draw what can be drawn from a file that --json wrote.",
    )


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
            help="How often each case is measured.  [default: 5; 3 or 1 for what takes long]",
        ),
        click.Option(
            ["--json", "json_path"],
            type=click.Path(dir_okay=False, writable=True, path_type=Path),
            help="Write every run to this file.",
        ),
        click.Option(
            ["--record"],
            is_flag=True,
            help="Put tables and plots into docs/performance.md, every run into docs/measured/.",
        ),
    ]


main: Final = _AllByDefault(
    commands=[
        _all_command(),
        _peers_command(),
        _plot_command(),
        *(_piece_command(name, build) for name, build in PIECES.items()),
    ],
    help="""Measure a real chronos-node through the client library, on the disk that TMPDIR names.

    Without a COMMAND: all pieces but idle, with their default sizes.
    """,
)
