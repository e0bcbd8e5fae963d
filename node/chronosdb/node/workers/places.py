"""Where each worker is (pure): its name, its ports."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from chronosdb.node.configuration.setting_kinds import Address

if TYPE_CHECKING:
    from chronosdb.node.configuration.config import Config

#: Where clients begin, and the one that keeps the metadata.
FIRST: Final = 1
_PREFIX: Final = "worker-"


def name_of(number: int) -> str:
    """A worker's name among nodes, in logs and in metrics."""
    return f"{_PREFIX}{number}"


def number_of(name: str) -> int | None:
    """Inverse of `name_of`; None for any other name."""
    digits = name.removeprefix(_PREFIX)
    known = name.startswith(_PREFIX) and digits.isascii() and digits.isdigit()
    return int(digits) if known else None


def peer_address(config: Config, number: int) -> Address:
    """Where the other workers reach one: all are on consecutive ports."""
    return replace(config.peer_listen, port=config.peer_listen.port + number - FIRST)


def client_port(config: Config, number: int) -> int:
    """Where a worker listens for clients; 0: anywhere."""
    if number == FIRST:
        return config.listen.port
    return config.workers_port + number if config.workers_port else 0


def fixed_ports(config: Config) -> Iterator[tuple[str, int]]:
    """Every port that the system may not choose, and whose it is."""
    named = [("http", 0 if config.http is None else config.http.port)]
    for number in range(FIRST, FIRST + config.workers):
        named.append((f"{name_of(number)} (clients)", client_port(config, number)))
        named.append((f"{name_of(number)} (peers)", peer_address(config, number).port))
    return ((name, port) for name, port in named if port)
