"""The metrics of several processes as one page (pure): each sample says whose it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_HELP: Final = "# HELP "


def merged(pages: Mapping[str, str]) -> str:
    """Pages in Prometheus' text format, by worker, as one with a label `worker`.

    The lines of a metric have to stand together, so they are gathered from all pages.
    """
    comments: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for worker, page in pages.items():
        family = ""
        for line in page.splitlines():
            if line.startswith(_HELP):
                family = line.removeprefix(_HELP).partition(" ")[0]
            if not line.startswith("#"):
                samples.setdefault(family, []).append(_labelled(line, worker))
            elif line not in comments.setdefault(family, []):
                comments[family].append(line)
    lines = [
        line for family, said in comments.items() for line in [*said, *samples.get(family, [])]
    ]
    return "".join(f"{line}\n" for line in lines)


def _labelled(sample: str, worker: str) -> str:
    """A sample with one label more: it has some in braces after its name, or none."""
    name, space, value = sample.partition(" ")
    head, brace, labels = sample.partition("{")
    if brace and len(head) < len(name):
        return f'{head}{{worker="{worker}",{labels}'
    return f'{name}{{worker="{worker}"}}{space}{value}'
