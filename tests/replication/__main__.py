"""`python -m tests.replication [--seeds N] [--first N]`: random lives of replicated partitions."""

from __future__ import annotations

import argparse
import logging
import sys
import time
import traceback
from collections import Counter

import click
from rich.progress import track

from tests.replication.lives import run


def main() -> int:
    """Run the lives; 0 if none went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.replication", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many lives")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("-v", action="store_true", help="show what the nodes log")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO if options.v else logging.CRITICAL)
    total: Counter[str] = Counter()
    failed: list[int] = []
    began_s = time.perf_counter()
    seeds = range(options.first, options.first + options.seeds)
    for seed in track(seeds, description="lives", disable=not sys.stderr.isatty()):
        try:
            total += run(seed).counts
        except BaseException:  # noqa: BLE001 - whatever it is, the seed is what is needed
            failed.append(seed)
            click.echo(f"seed {seed} failed")
            traceback.print_exc()
    seconds = time.perf_counter() - began_s
    click.echo(f"{options.seeds} lives in {seconds:.0f} s: {dict(sorted(total.items()))}")
    click.echo(f"failed: {failed or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
