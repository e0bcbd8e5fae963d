"""Benchmarks of the real node: `python -m bench --help`."""

from __future__ import annotations

from bench.cli import main

if __name__ == "__main__":
    main(prog_name="python -m bench")
