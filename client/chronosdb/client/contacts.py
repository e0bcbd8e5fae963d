"""Whom to call: the addresses that the application gave, and the nodes that were heard of since."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from chronosdb.client.addresses import MAX_ADDRESSES, Address, parse_addresses
from chronosdb.wire.errors import InvalidArgument


class Contacts:
    """Addresses in the order in which to try them: any node of the cluster will do."""

    def __init__(self, given: Sequence[Address]) -> None:
        self._given = tuple(given)
        self._heard: tuple[Address, ...] = ()
        #: Invariant: those given and those heard of, each once; one that failed is behind the others.
        self._order = list(dict.fromkeys(given))

    def in_order(self) -> tuple[Address, ...]:
        """All of them, the most promising first."""
        return tuple(self._order)

    def learn(self, nodes: Iterable[str]) -> None:
        """These are the nodes of the cluster now; without one, nothing is known."""
        heard = tuple(found for text in nodes if (found := address_of(text)) is not None)
        if not heard or heard == self._heard:
            return
        self._heard = heard[:MAX_ADDRESSES]
        wanted = dict.fromkeys((*self._given, *self._heard))
        kept = [address for address in self._order if address in wanted]
        self._order = list(dict.fromkeys((*kept, *wanted)))

    def failed(self, address: Address) -> None:
        """Try this one after the others."""
        if address in self._order:
            self._order.remove(address)
            self._order.append(address)


def address_of(text: str) -> Address | None:
    """The one address in `text`, as a node wrote it; None if it is none."""
    try:
        [address] = parse_addresses(text)
    except (InvalidArgument, ValueError):
        return None
    return address
