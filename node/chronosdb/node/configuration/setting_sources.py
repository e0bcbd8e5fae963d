"""Where settings are given: flags, `CHRONOS_…` variables, a TOML file. Each becomes a `Layer`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import click

from chronosdb.node.configuration.settings import ConfigError, Given, Layer, Setting, unknown_name

PREFIX: Final = "CHRONOS_"

#: Read by `chronos`, not by the node; the two share a shell.
COMMAND_VARIABLES: Final = frozenset(
    {"CHRONOS_CONFIG", "CHRONOS_SERVER", "CHRONOS_TIMEOUT", "CHRONOS_JSON"}
)
#: Kubernetes describes a service named chronos… to every pod by variables of these shapes.
_INJECTED: Final = re.compile(r"CHRONOS_(\w+_)?(PORT(_\d+_\w+)?|SERVICE_(HOST|PORT)(_\w+)?)")

MAX_FILE_BYTES: Final = 1024 * 1024
_DEPTH_MAX: Final = 16


def flag_options(settings: Iterable[Setting]) -> list[click.Option]:
    """One command-line option for each setting. Its value stays text: `Setting.read` judges it."""
    return [_option(one) for one in settings]


def flag_layer(settings: Iterable[Setting], params: Mapping[str, Any]) -> Layer:
    """What click parsed with `flag_options`."""
    return {
        one.key: Given(params[one.field], one.flag)
        for one in settings
        if params.get(one.field) is not None
    }


def variable_layer(settings: Sequence[Setting], environ: Mapping[str, str]) -> Layer:
    """The variables that begin with `CHRONOS_`.

    Raises:
        ConfigError: one of them is not a setting's. A misspelt CHRONOS_DATA_DIR that was ignored
            would put the data in another place.
    """
    known = {one.variable(PREFIX): one.key for one in settings}
    ours = [name for name in sorted(environ) if name.startswith(PREFIX)]
    strangers = [name for name in ours if name not in known and not _is_foreign(name)]
    if strangers:
        raise ConfigError([unknown_name(name, "the environment", known) for name in strangers])
    return {known[name]: Given(environ[name], name) for name in ours if name in known}


def file_layer(settings: Sequence[Setting], content: bytes, path: str) -> Layer:
    """The keys of a TOML file. A table is a prefix: `[ack]` with `timeout` is `ack_timeout`.

    Raises:
        ConfigError: not TOML, or it holds keys that are unknown or given twice.
    """
    known = {one.key for one in settings}
    layer: dict[str, Given] = {}
    problems: list[str] = []
    for key, dotted, raw in _flatten(_parse(content, path)):
        if key not in known:
            problems.append(unknown_name(dotted, path, known))
        elif key in layer:
            problems.append(f'"{dotted}" is given twice (in {path}); keep one')
        else:
            layer[key] = Given(raw, path)
    if problems:
        raise ConfigError(problems)
    return layer


def _option(one: Setting) -> click.Option:
    names = [one.flag, one.field]
    if one.kind.toml is bool:
        return click.Option(names, help=one.about, flag_value="true", type=str, default=None)
    about = f"{one.about}  [{one.kind.show(one.default) or 'none'}]"
    return click.Option(names, help=about, metavar=one.kind.metavar, type=str, default=None)


def _is_foreign(name: str) -> bool:
    return name in COMMAND_VARIABLES or _INJECTED.fullmatch(name) is not None


def _parse(content: bytes, path: str) -> dict[str, Any]:
    if len(content) > MAX_FILE_BYTES:
        raise ConfigError([f"{path} is {len(content)} bytes; at most {MAX_FILE_BYTES} are read"])
    try:
        return tomllib.loads(content.decode())
    except (
        ValueError,
        RecursionError,
    ) as error:  # a number of too many digits is a mere ValueError
        raise ConfigError([f"{path} is not TOML: {error}"]) from None


def _flatten(
    table: Mapping[str, Any], prefix: tuple[str, ...] = ()
) -> Iterator[tuple[str, str, Any]]:
    for name, raw in table.items():
        path = (*prefix, name)
        # No setting is so deep: what is below is part of an unknown key.
        if isinstance(raw, dict) and len(path) < _DEPTH_MAX:
            yield from _flatten(raw, path)
        else:
            yield "_".join(path), ".".join(path), raw
