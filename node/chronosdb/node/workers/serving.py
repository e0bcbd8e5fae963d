"""What a worker tells its supervisor: one line, once it serves."""

from __future__ import annotations

from typing import Final

import msgspec


class Serving(msgspec.Struct, frozen=True):
    """Where a worker is, its ports being the real ones."""

    #: For clients.
    address: str
    #: For health and metrics; None if that is off.
    http: str | None


SERVING: Final = msgspec.json.Decoder(Serving)
