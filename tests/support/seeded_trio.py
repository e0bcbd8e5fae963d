"""Lets a seed decide which of several tasks goes first, as chance does otherwise.

The one place that names what trio keeps private. Hypothesis uses these names for the same purpose;
tests/simulation/test_seeded_trio.py says what we expect of them.
"""

from __future__ import annotations

import trio


def schedule_by(seed: int) -> None:
    """From now on, in this process. Tasks that can run at the same moment do so in an order of the seed."""
    trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    trio._core._run._r.seed(seed)
