"""What is peculiar to a seed, in runs of any length."""

from __future__ import annotations

import pytest

from tests.simulation.swarm import swarm

SEEDS = range(400)


@pytest.mark.parametrize("trouble_s", [4.0, 20.0])
def test_a_short_run_has_the_kinds_of_faults_of_the_long_one(trouble_s: float) -> None:
    """They only come more often."""
    for seed in SEEDS:
        long, short = swarm(seed, 3, 60.0), swarm(seed, 3, trouble_s)
        assert short.faults.keys() == long.faults.keys()
        assert all(short.faults[kind] < long.faults[kind] for kind in long.faults)


def test_the_share_of_glimpses_that_are_thorough_is_their_share_of_a_brief_run() -> None:
    """Those have planners too, whose events come seconds later; a brief run is always thorough."""
    glimpses = [swarm(seed, 3, 4.0) for seed in SEEDS]
    thorough = [one for one in glimpses if one.thorough]
    assert len(thorough) == pytest.approx(len(SEEDS) * 4 / 20, rel=0.25)
    assert any(one.planners for one in thorough)
    assert not any(one.planners for one in glimpses if not one.thorough)
    assert all(swarm(seed, 3, 20.0).thorough for seed in SEEDS)
