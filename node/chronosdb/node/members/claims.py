"""Claims: while a group is reset or deleted in the whole cluster, nobody joins it anywhere.

Whoever changes a group claims it at every node, under a token of its own. A claim ends when it is
released, or when its owner leaves the cluster, or by itself: its owner may have died.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import trio

from chronosdb.wire.errors import Overloaded


@dataclass(frozen=True, slots=True)
class _Claim:
    token: str
    until_s: float
    #: Whether whoever made it is still a member: a node that was removed cannot release it.
    owner_stays: Callable[[], bool]


class Claims:
    """The claimed groups of one node, by (topic, group)."""

    def __init__(self) -> None:
        self._claims: dict[tuple[str, str], _Claim] = {}

    def check(self, key: tuple[str, str], token: str = "") -> None:
        """That nobody has claimed a group but the owner of `token`; raises Overloaded."""
        claim = self._held(key)
        if claim is not None and claim.token != token:
            raise Overloaded(f"group {key[1]!r} of topic {key[0]!r} is being changed; try again")

    def check_held(self, key: tuple[str, str], token: str) -> None:
        """That the owner of `token` has it; raises Overloaded."""
        claim = self._held(key)
        if claim is None or claim.token != token:
            raise Overloaded(f"the change of group {key[1]!r} took too long; try again")

    def put(
        self, key: tuple[str, str], token: str, for_s: float, owner_stays: Callable[[], bool]
    ) -> None:
        """Claim a group, or claim it for longer; raises Overloaded when somebody else has."""
        self.check(key, token)
        self._claims[key] = _Claim(token, trio.current_time() + for_s, owner_stays)

    def release(self, key: tuple[str, str], token: str) -> None:
        """End a claim. Harmless when it has ended."""
        claim = self._claims.get(key)
        if claim is not None and claim.token == token:
            del self._claims[key]

    def _held(self, key: tuple[str, str]) -> _Claim | None:
        claim = self._claims.get(key)
        if claim is None:
            return None
        if claim.until_s > trio.current_time() and claim.owner_stays():
            return claim
        del self._claims[key]
        return None
