"""A few seeds of the simulation, in every test run; `python -m tests.simulate` has the rest."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.simulation.run import run
from tests.tidy.repository import ROOT

SEEDS = range(12)
#: Of those with faults between nodes, two that end soon.
CLUSTER_SEEDS = (49, 205)
#: Short ones: a campaign has the minutes.
TROUBLE_S = 20


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_a_run_breaks_no_promise(seed: int) -> None:
    """The story of one that does: `python -m tests.simulate --trouble 20 --verbose --seed N`."""
    assert run(seed, trouble_s=TROUBLE_S).violations == ()


@pytest.mark.slow
@pytest.mark.parametrize("seed", CLUSTER_SEEDS)
def test_a_run_of_a_cluster_breaks_no_promise(seed: int) -> None:
    """Its story: `python -m tests.simulate --nodes 3 --trouble 10 --verbose --seed N`."""
    assert run(seed, trouble_s=10, nodes=3).violations == ()


@pytest.mark.slow
def test_a_run_is_the_same_in_another_process() -> None:
    """With another hash seed, and after another past: equal digests. Of clusters campaigns look at it."""
    here = run(3, trouble_s=TROUBLE_S).digest
    command = [sys.executable, "-m", "tests.simulate", "--seed", "3", "--trouble", str(TROUBLE_S)]
    there = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert there.stdout.splitlines()[-1] == f"digest {here}"
