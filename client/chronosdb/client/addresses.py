"""Node addresses as people write them: "host", "host:9000", "[::1]:9000", several with commas."""

from __future__ import annotations

import ipaddress
import re
from typing import Final, NamedTuple

from chronosdb.wire.errors import InvalidArgument

DEFAULT_PORT: Final = 9000
MAX_ADDRESSES: Final = 64

_EXAMPLE: Final = 'write "host:9000", "[::1]:9000", or several with commas'
_BRACKETED: Final = re.compile(r"\[(?P<host>[^\[\]]*)\](?::(?P<port>.*))?", re.DOTALL)
_PLAIN: Final = re.compile(r"(?P<host>[^:\[\]]*)(?::(?P<port>[^:]*))?", re.DOTALL)
_HOST_NAME: Final = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
_PORT: Final = re.compile(r"[0-9]{1,5}")


class Address(NamedTuple):
    """Where a node listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_addresses(text: str) -> tuple[Address, ...]:
    """The addresses in `text`, in its order.

    Raises:
        InvalidArgument: no address, too many, or one that is not an address.
    """
    if not isinstance(text, str):
        raise InvalidArgument(f"addresses must be a str, not {type(text).__name__}; {_EXAMPLE}")
    parts = text.split(",")
    if len(parts) > MAX_ADDRESSES:
        raise InvalidArgument(f"{len(parts)} addresses; at most {MAX_ADDRESSES} are allowed")
    return tuple(_parse(part.strip()) for part in parts)


def _parse(part: str) -> Address:
    if bracketed := _BRACKETED.fullmatch(part):
        return Address(_ipv6(bracketed["host"], part), _port(bracketed["port"], part))
    plain = _PLAIN.fullmatch(part)
    if plain is None or not _HOST_NAME.fullmatch(plain["host"]):
        raise InvalidArgument(f"{part!r} is not the address of a node; {_EXAMPLE}")
    return Address(plain["host"], _port(plain["port"], part))


def _ipv6(host: str, part: str) -> str:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        raise InvalidArgument(f"{part!r}: {host!r} is not an IPv6 address; {_EXAMPLE}") from None
    return host


def _port(port: str | None, part: str) -> int:
    if port is None:
        return DEFAULT_PORT
    if not _PORT.fullmatch(port) or not 1 <= int(port) <= 65_535:
        raise InvalidArgument(f"{part!r}: {port!r} is not a port; 1 to 65535 are allowed")
    return int(port)
