"""A few random lives; `python -m tests.replication` has more of them."""

from __future__ import annotations

import pytest

from tests.replication.lives import run


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 2])
def test_nothing_that_was_acknowledged_is_lost(seed: int) -> None:
    """Whatever crashes, is cut off, full or slow; all copies are equal in the end (I1, I10, I11)."""
    life = run(seed, chaos_s=8)
    assert len(life.acked) > 10
    assert life.counts["crashes"] + life.counts["cuts"] > 0
