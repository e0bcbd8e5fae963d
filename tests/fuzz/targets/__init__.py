"""Every way in for bytes that others chose."""

from __future__ import annotations

from tests.fuzz.target import Target
from tests.fuzz.targets import columns, log, metadata, peer_calls, peers, text, wire

TARGETS: dict[str, Target] = {
    target.name: target
    for part in (wire, columns, log, metadata, peers, peer_calls, text)
    for target in part.TARGETS
}
