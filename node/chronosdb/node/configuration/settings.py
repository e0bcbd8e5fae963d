"""Settings declared once: a frozen dataclass whose fields say how they are written and bounded.

From that one declaration come the flag (`--ack-timeout`), the variable (`CHRONOS_ACK_TIMEOUT`), the
TOML key (`ack_timeout`), the help text and the printed file. A value is text until its `Kind` has
read it, so all three sources accept the same words and refuse with the same ones.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from chronosdb.node.configuration.setting_kinds import Kind

_METADATA: Final = "chronosdb.setting"


class ConfigError(Exception):
    """The configuration cannot be used. `problems` holds one sentence for each thing to mend."""

    def __init__(self, problems: Sequence[str]) -> None:
        assert problems
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Given:
    """A value as somebody wrote it, and where: "--ack-timeout", "CHRONOS_ACK_TIMEOUT", "node.toml"."""

    raw: Any
    source: str


Layer = Mapping[str, Given]


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: the field it fills, what it is called, what it may be."""

    field: str
    key: str
    about: str
    kind: Kind
    default: Any
    low: Any
    high: Any

    @property
    def flag(self) -> str:
        """The command line's name for it."""
        return "--" + self.key.replace("_", "-")

    def variable(self, prefix: str) -> str:
        """The environment's name for it."""
        return prefix + self.key.upper()

    def read(self, raw: Any) -> Any:
        """The value that was written as `raw`: text, or what TOML made of it.

        Raises:
            ValueError: it cannot be read, or is out of bounds; the message says what is allowed.
        """
        value = self.kind.read(self._text(raw))
        if self.low is not None and value < self.low:
            raise ValueError(f'"{raw}" is too small; the least is {self.kind.show(self.low)}')
        if self.high is not None and value > self.high:
            raise ValueError(f'"{raw}" is too large; the most is {self.kind.show(self.high)}')
        return value

    def toml(self, value: Any) -> str:
        """`value` as a file has it."""
        shown = self.kind.show(value)
        return _quoted(shown) if self.kind.toml is str else shown

    def _text(self, raw: Any) -> str:
        if isinstance(raw, str):
            return raw
        if type(raw) is self.kind.toml:
            return str(raw).lower()
        raise ValueError(f"must be written like {self.toml(self.default)}, not {raw!r:.40}")


def setting(
    default: str, kind: Kind, about: str, *, low: str = "", high: str = "", key: str = ""
) -> Any:
    """Declare a dataclass field as a setting; `low` and `high` are the least and most it may be.

    All three are written as a user would write them. The key is the field's name without `_ms`,
    since a duration always carries its unit, unless `key` is another.
    """
    value = kind.read(default)
    declared = {
        "key": key,
        "about": about,
        "kind": kind,
        "low": kind.read(low) if low else None,
        "high": kind.read(high) if high else None,
    }
    return dataclasses.field(default=value, metadata={_METADATA: declared})


def settings_of(config: type) -> tuple[Setting, ...]:
    """The settings that the dataclass `config` declares, in order."""
    return tuple(map(_setting_of, dataclasses.fields(config)))


def resolve(
    settings: Iterable[Setting], layers: Sequence[Layer]
) -> tuple[dict[str, Any], dict[str, str]]:
    """The values by field name, and by key the source of each that was given by somebody.

    The first layer that has a key decides.

    Raises:
        ConfigError: values cannot be read; each is named.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    problems: list[str] = []
    for one in settings:
        given = next((layer[one.key] for layer in layers if one.key in layer), None)
        if given is None:
            values[one.field] = one.default
            continue
        sources[one.key] = given.source
        try:
            values[one.field] = one.read(given.raw)
        except ValueError as error:
            problems.append(f"{one.key} (from {given.source}): {error}")
    if problems:
        raise ConfigError(problems)
    return values, sources


def unknown_name(name: str, source: str, known: Iterable[str]) -> str:
    """The sentence about a name that is no setting's, with the one that was probably meant."""
    close = difflib.get_close_matches(name, list(known), n=1)
    hint = f'did you mean "{close[0]}"?' if close else "chronos-node --help lists every setting"
    return f'unknown setting "{name}" (from {source}); {hint}'


def _setting_of(field: dataclasses.Field[Any]) -> Setting:
    declared = dict(field.metadata[_METADATA])
    key = declared.pop("key") or field.name.removesuffix("_ms")
    return Setting(field=field.name, key=key, default=field.default, **declared)


def _quoted(text: str) -> str:
    """A TOML basic string; whatever is not printable ASCII is escaped."""
    plain = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if " " <= c <= "~" else f"\\U{ord(c):08x}" for c in plain) + '"'
