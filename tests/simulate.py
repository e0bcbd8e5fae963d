"""Deterministic simulation: one run by its seed, or a campaign of many.

    python -m tests.simulate --seed 17 [--verbose] [--history FILE]
    python -m tests.simulate --seeds 0..1999 -j 2 --check-replay 1%
    python -m tests.simulate --nodes 3 --seeds 0..999 -j 2

Exit code 0: nothing happened that must not. What a run is: tests/simulation/README.md.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from time import perf_counter

import click
from rich.console import Console

from tests.simulation.campaign import campaign, show
from tests.simulation.run import TROUBLE_S, run


@click.command()
@click.option("--seed", type=int, help="One run; prints its digest, the same each time.")
@click.option("--verbose", is_flag=True, help="The story of that run.")
@click.option("--history", type=click.Path(path_type=Path), help="A file for its history.")
@click.option("--seeds", metavar="A..B", help="A campaign: the seeds from A to B, both included.")
@click.option("--nodes", type=click.Choice(["1", "3", "5"]), default="1", help="In the cluster.")
@click.option("--trouble", type=float, default=TROUBLE_S, help="Simulated seconds of faults.")
@click.option("-j", "--jobs", type=click.IntRange(1), default=1, help="Processes of a campaign.")
@click.option("--check-replay", metavar="SHARE", default="1%", help="How many seeds to run twice.")
def main(
    *,
    seed: int | None,
    verbose: bool,
    history: Path | None,
    seeds: str | None,
    nodes: str,
    trouble: float,
    jobs: int,
    check_replay: str,
) -> None:
    """Run the real node in a simulated world, with every kind of fault."""
    if (seed is None) == (seeds is None):
        raise click.UsageError("give --seed N or --seeds A..B")
    if seed is not None:
        sys.exit(_one(seed, verbose, history, trouble, int(nodes)))
    first, _, last = (seeds or "").partition("..")
    if not (first.isdigit() and last.isdigit() and int(first) <= int(last)):
        raise click.UsageError(f"--seeds {seeds}: write it as 0..1999")
    share = check_replay.removesuffix("%")
    if not share.replace(".", "", 1).isdigit() or float(share) > 100:
        raise click.UsageError(f"--check-replay {check_replay}: write it as 1%")
    console = Console()
    began_s = perf_counter()
    run_one = partial(run, tell=None, trouble_s=trouble, nodes=int(nodes))
    total = campaign(range(int(first), int(last) + 1), jobs, float(share) / 100, run_one, console)
    show(total, perf_counter() - began_s, f"--nodes {nodes} --trouble {trouble:g}", console)
    sys.exit(0 if total.clean else 1)


def _one(seed: int, verbose: bool, history: Path | None, trouble_s: float, nodes: int) -> int:
    result = run(seed, click.echo if verbose else None, trouble_s, nodes)
    if history is not None:
        history.write_bytes(result.history)
    for violation in result.violations:
        click.echo(f"violation: {violation}")
    faults = ", ".join(f"{number} {kind}" for kind, number in sorted(result.faults.items()))
    click.echo(
        f"seed {seed}: {result.simulated_s:.0f} simulated s in {result.cpu_s:.1f} s,"
        f" {result.events} events, {result.lines} lines; {faults or 'no faults'}"
    )
    click.echo(f"digest {result.digest}")
    return 1 if result.violations else 0


if __name__ == "__main__":
    main()
