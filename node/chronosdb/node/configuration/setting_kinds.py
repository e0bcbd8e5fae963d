"""The ways a setting's value is written, each read from text and shown as text again."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final

from chronosdb.wire.limits import NAME_PATTERN
from chronosdb.wire.units import (
    format_duration,
    format_size,
    parse_duration_ms,
    parse_size_bytes,
)


@dataclass(frozen=True, slots=True)
class Kind:
    """One way of writing values.

    `read` turns text into the value or raises ValueError with what is allowed; `show` is its
    inverse. `toml` is the type the value has in a file.
    """

    metavar: str
    read: Callable[[str], Any]
    show: Callable[[Any], str] = str
    toml: type = str


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. Port 0 lets the system choose."""

    host: str
    port: int

    @property
    def is_wildcard(self) -> bool:
        """Whether it stands for every address of this machine, which nobody can dial."""
        try:
            return ip_address(self.host).is_unspecified
        except ValueError:
            return False

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


#: Other nodes by name, and where their peers reach them.
Nodes = tuple[tuple[str, Address], ...]


def choice(*words: str) -> Kind:
    """One of these words."""

    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f'"{text}" is not one of: {", ".join(words)}')
        return text

    return Kind("|".join(words), read)


def _read_path(text: str) -> str:
    if not text or "\0" in text:
        raise ValueError("a path must not be empty or contain NUL")
    return text


def _read_path_or_nothing(text: str) -> str:
    return _read_path(text) if text else ""


def _read_name_or_nothing(text: str) -> str:
    if text and not re.match(NAME_PATTERN, text):
        raise ValueError(f'"{text}" is not a name: letters, digits, ".", "_" and "-"')
    return text


def _read_integer(text: str) -> int:
    # `int` alone would also take "1_0", digits of other scripts, and megabytes of them.
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise ValueError(f'"{text}" is not a whole number, such as 5')
    return int(text)


def _read_boolean(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError(f'"{text}" is neither true nor false')
    return text == "true"


def _show_boolean(value: object) -> str:
    return str(value).lower()


def _read_address(text: str) -> Address:
    host, colon, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    # An IPv6 address needs its brackets, or its last group would be taken for a port.
    if not colon or not bare or (":" in host and bare == host):
        raise ValueError(
            f'"{text}" is not HOST:PORT, such as "127.0.0.1:9000" or "[::1]:9000";'
            ' for every address write "0.0.0.0:9000"'
        )
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65_535):
        raise ValueError(f'the port of "{text}" is not a number from 0 to 65535')
    return Address(bare, int(port))


def _read_address_or_off(text: str) -> Address | None:
    return None if text == "off" else _read_address(text)


def _show_address_or_off(address: Address | None) -> str:
    return "off" if address is None else str(address)


def _read_address_or_nothing(text: str) -> Address | None:
    return _read_address(text) if text else None


def _show_address_or_nothing(address: Address | None) -> str:
    return "" if address is None else str(address)


def read_nodes(text: str) -> Nodes:
    """The nodes of "n1=host1:9001,n2=host2:9001"; raises ValueError with what is wrong."""
    nodes: dict[str, Address] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, address = part.partition("=")
        if not equals or not re.match(NAME_PATTERN, name):
            raise ValueError(f'"{part}" is not NAME=HOST:PORT, such as "n1=10.0.0.1:9001"')
        if name in nodes:
            raise ValueError(f'node "{name}" is given twice')
        nodes[name] = _read_address(address)
        if nodes[name].is_wildcard or not nodes[name].port:
            raise ValueError(f'nobody can dial "{address}": give the address of node {name}')
    return tuple(nodes.items())


def show_nodes(nodes: Nodes) -> str:
    """Inverse of `read_nodes`."""
    return ",".join(f"{name}={address}" for name, address in nodes)


NAME_OR_NOTHING: Final = Kind("NAME", _read_name_or_nothing)
PATH: Final = Kind("PATH", _read_path)
PATH_OR_NOTHING: Final = Kind("PATH", _read_path_or_nothing)
INTEGER: Final = Kind("INTEGER", _read_integer, toml=int)
BOOLEAN: Final = Kind("", _read_boolean, _show_boolean, toml=bool)
DURATION: Final = Kind("DURATION", parse_duration_ms, format_duration)
SIZE: Final = Kind("SIZE", parse_size_bytes, format_size)
ADDRESS: Final = Kind("HOST:PORT", _read_address)
ADDRESS_OR_OFF: Final = Kind("HOST:PORT|off", _read_address_or_off, _show_address_or_off)
ADDRESS_OR_NOTHING: Final = Kind("HOST:PORT", _read_address_or_nothing, _show_address_or_nothing)
NODES: Final = Kind("NAME=HOST:PORT,...", read_nodes, show_nodes)
