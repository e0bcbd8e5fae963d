"""A short mixed load; `make mixed` runs as long as one likes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.process.mixed_load import Plan, mixed_load

#: What a run of any length must have judged. I15 and I17 are about faults that it does not have.
JUDGED = {"I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "I9", "I12", "I13", "I14", "I16"}


@pytest.mark.slow
def test_a_few_seconds_break_no_promise(tmp_path: Path) -> None:
    """Everything at once, with two deaths or more: zero violations, memory and disk bounded."""
    result, verdict = mixed_load(tmp_path, Plan(6, seed=5, rate=300), lambda _world, _at_s: None)
    assert verdict.violations == []
    assert result.kept, result
    assert {name for name, what in result.judged.items() if sum(what.values())} >= JUDGED
    assert result.counts["published"] > 100
    assert result.counts.get("kills", 0) + result.counts.get("stops", 0) >= 2
