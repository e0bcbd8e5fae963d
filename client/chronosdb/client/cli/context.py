"""What every command is given: the shared options, a way to the node, and a way to print."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar

import anyio
import click

from chronosdb.client import Client, connect
from chronosdb.client.cli.output import Output

P = ParamSpec("P")
T = TypeVar("T")

_META: Final = "chronosdb.client.cli."

DEFAULT_SERVER: Final = "127.0.0.1:9000"
DEFAULT_TIMEOUT_S: Final = 10.0
_SERVER_HELP: Final = f"Node, or some nodes of a cluster, with commas  [{DEFAULT_SERVER}]"


class Connect(Protocol):
    """How a client is had: `chronosdb.client.connect`, or a test's."""

    def __call__(self, addresses: str, *, timeout: float) -> AbstractAsyncContextManager[Client]:
        """See `chronosdb.client.connect`."""
        ...


@dataclass(frozen=True, slots=True)
class App:
    """The shared options of one invocation. `timeout_s` is the deadline of each request."""

    server: str = DEFAULT_SERVER
    timeout_s: float = DEFAULT_TIMEOUT_S
    json: bool = False
    connect: Connect = connect
    output: Output = field(default_factory=Output)

    def run(self, task: Callable[[Client], Awaitable[T]]) -> T:
        """The result of `task`, given a client of the chosen node."""

        async def body() -> T:
            async with self.connect(self.server, timeout=self.timeout_s) as client:
                return await task(client)

        return anyio.run(body, backend="trio")


def pass_app(command: Callable[Concatenate[App, P], T]) -> Callable[P, T]:
    """Give a command's function the `App` of its invocation as first argument."""

    @functools.wraps(command)
    def with_app(*args: P.args, **kwargs: P.kwargs) -> T:
        return command(_app(click.get_current_context()), *args, **kwargs)

    return with_app


class Command(click.Command):
    """A command that also takes the shared options after its name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(shared_options(environment=False))


class Group(click.Group):
    """A group that takes the shared options, and whose commands do."""

    command_class = Command

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"no_args_is_help": False, **kwargs})
        self.params.extend(shared_options(environment=False))


def shared_options(*, environment: bool) -> list[click.Parameter]:
    """`--server`, `--timeout`, `--json`.

    Only the root command looks at the environment: otherwise a variable would overrule a flag that
    was given before the command's name.
    """
    return [
        _shared(["--server"], environment, metavar="HOST:PORT", help=_SERVER_HELP),
        _shared(
            ["--timeout", "timeout_s"],
            environment,
            type=click.FloatRange(min=0, min_open=True),
            metavar="SECONDS",
            help=f"Deadline of each request  [{DEFAULT_TIMEOUT_S:g}]",
        ),
        _shared(["--json"], environment, is_flag=True, default=None, help="Print JSON."),
    ]


def _shared(names: list[str], environment: bool, **details: Any) -> click.Option:
    variable = "CHRONOS_" + names[0].removeprefix("--").upper() if environment else None
    return click.Option(
        names,
        envvar=variable,
        show_envvar=environment,
        expose_value=False,
        callback=_remember,
        **details,
    )


def _remember(context: click.Context, option: click.Parameter, value: object) -> None:
    if value is not None:
        context.meta[f"{_META}{option.name}"] = value


def _app(context: click.Context) -> App:
    given = {
        key.removeprefix(_META): value
        for key, value in context.meta.items()
        if key.startswith(_META)
    }
    return App(**given, **(context.obj or {}))
