"""The real broker inside a test, in virtual time: a year of waiting costs milliseconds.

Start at `Broker`, or take the pytest fixture `chronos_broker`; docs/testing.md has examples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chronosdb.testing.broker import START, Broker
    from chronosdb.testing.deliveries import Delivered

__all__ = ["START", "Broker", "Delivered"]


def __getattr__(name: str) -> object:
    # Imported when first used: pytest loads the plug-in of this package, and with it this file, in
    # every run, also in those that need no broker.
    if name in __all__:
        from chronosdb.testing import broker  # noqa: PLC0415

        return getattr(broker, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
