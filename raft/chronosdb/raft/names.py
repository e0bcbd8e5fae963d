"""Which names topics, groups and nodes may have."""

from __future__ import annotations

import re

from chronosdb.raft.limits import ADDRESS_CHARS_MAX, NAME_CHARS_MAX

_ALLOWED = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)
_QUOTED_CHARS_MAX = 64


def quoted(name: str) -> str:
    """The name as an error message may repeat it: printable and short."""
    shown = ascii(name[:_QUOTED_CHARS_MAX])
    return shown if len(name) <= _QUOTED_CHARS_MAX else f"{shown}... ({len(name)} characters)"


def name_problem(kind: str, name: str) -> str | None:
    """Why `name` cannot name a `kind`, or None if it can."""
    if not 1 <= len(name) <= NAME_CHARS_MAX:
        return f"{kind} name {quoted(name)} must have 1 to {NAME_CHARS_MAX} characters"
    if name in {".", ".."} or _ALLOWED.fullmatch(name) is None:
        return f"{kind} name {quoted(name)} may hold A-Z a-z 0-9 . _ - only, and not be '.' or '..'"
    return None


def address_problem(address: str) -> str | None:
    """Why `address` cannot be a node's, or None. It is opaque here: only its size is judged."""
    if 1 <= len(address) <= ADDRESS_CHARS_MAX and address.isprintable():
        return None
    return f"address {quoted(address)} must have 1 to {ADDRESS_CHARS_MAX} printable characters"
