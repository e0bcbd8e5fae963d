"""Small JSON files in which a node keeps what it was set up with and has promised: one way to read them."""

from __future__ import annotations

from typing import Protocol, TypeVar

import msgspec

from chronosdb.node.configuration.settings import ConfigError
from chronosdb.wal import Disk


class HasFormat(Protocol):
    """What such a file holds."""

    @property
    def format(self) -> int:
        """Of the file; a version reads one."""


F = TypeVar("F", bound=HasFormat)


def read_setup(disk: Disk, path: str, decoder: msgspec.json.Decoder[F], known: int) -> F | None:
    """What the file holds; None if there is none.

    Raises:
        ConfigError: it cannot be read, or is of another format than `known`.
    """
    if not disk.exists(path):
        return None
    try:
        file = decoder.decode(disk.read_file(path))
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path} cannot be read: {error}"]) from None
    if file.format != known:
        raise ConfigError([f"{path} has format {file.format}; this version reads {known}"])
    return file
