"""Ten rounds of the torture; `python -m tests.process.torture` runs as many as one likes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.process.torture import torture


@pytest.mark.slow
def test_ten_kills_break_no_promise(tmp_path: Path) -> None:
    """Publishers, a consumer group and kill -9 at ten random moments: nothing lost, early or altered."""
    result = torture(tmp_path, cycles=10, seed=7, after_each=lambda: None)
    assert result.report.kept, result.report
    assert result.report.figures["published"] > 100
    assert result.unanswered_at_a_kill > 0
