"""Every state machine against its model, again and again with other examples.

    python -m tests.models --rounds 100 --seed 7 -j 2

`make test` runs each with a modest number of examples. A round runs all of them with the examples
that its seed chooses, so that a seed is enough to see a failure again:
`pytest --hypothesis-seed=SEED` and the test's name.
"""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.progress import track

ROOT: Final = Path(__file__).parents[1]
#: What the test of every Hypothesis state machine is called.
MACHINE: Final = "runTest"


def machines() -> list[str]:
    """The test files that hold a state machine."""
    files = sorted(Path(__file__).parent.glob("*/test_*.py"))
    found = [path for path in files if "(RuleBasedStateMachine)" in path.read_text()]
    return [str(path.relative_to(ROOT)) for path in found]


def run_round(files: list[str], seed: int) -> str | None:
    """Runs every machine with the examples of one seed; what pytest said if one failed."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", MACHINE]
    command += [f"--hypothesis-seed={seed}", *files]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return ended.stdout + ended.stderr if ended.returncode else None


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", type=click.IntRange(1), default=10, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of the first.")
@click.option("-j", "jobs", type=click.IntRange(1, 64), default=2, show_default=True)
def main(rounds: int, seed: int, jobs: int) -> None:
    """Compare every state machine with its model; exit with 1 if one differed."""
    console = Console()
    files = machines()
    seeds = range(seed, seed + rounds)
    failed = 0
    with ThreadPoolExecutor(jobs) as pool:
        outcomes = pool.map(partial(run_round, files), seeds)
        for one, said in zip(
            seeds, track(outcomes, "models", rounds, console=console), strict=True
        ):
            if said is not None:
                failed += 1
                console.print(f"[red]seed {one}[/]")
                console.print(said, markup=False, highlight=False)
    console.print(f"{len(files)} files of machines, {rounds} rounds, {failed} with a difference")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
