"""The tours of README.md and docs/tour.md are run, block by block, and print what they say they print."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from tests.tidy.repository import read
from tests.tidy.traveller import Traveller, steps

#: The tours, and how often each starts a node.
TOURS: Final = {
    "README.md": (read("README.md").split("\n## Five-minute tour\n")[1].split("\n## ")[0], 2),
    "docs/tour.md": (read("docs/tour.md"), 1),
}
#: What differs from run to run, also within a column that is as wide as its longest value.
VOLATILE: Final = re.compile(
    r"""\d{4}-\d\d-\d\dT[\d:.]+Z     # times
    | \+?\b(?:\d+m\ )?[\d.]+m?s\b  # lateness, uptime
    | \b[\d.]+\ [KMGT]?i?B\b        # sizes
    | \b[0-9a-f]{8,}\b | \d{3,}     # names that are drawn, places in a log
    | \d+(?=\ valid\ records)       # how records were grouped
    """,
    re.VERBOSE,
)


def settled(text: str) -> list[str]:
    """Lines without what differs from run to run."""
    return [VOLATILE.sub("…", line).rstrip() for line in text.splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("name", TOURS)
def test_the_tour_is_true(name: str, tmp_path: Path) -> None:
    """Every command and program succeeds, and prints what the document shows."""
    traveller = Traveller(tmp_path)
    try:
        for step in steps(TOURS[name][0]):
            printed = traveller.take(step)
            assert settled(printed) == settled(step.output), f"{step.body}{printed}"
    finally:
        traveller.go_home()


@pytest.mark.parametrize("name", TOURS)
def test_the_tour_has_a_shell_and_a_program(name: str) -> None:
    """The blocks are found: commands and what they print, a program, every start of a node."""
    text, nodes = TOURS[name]
    taken = list(steps(text))
    assert {step.language for step in taken} == {"sh", "python"}
    assert sum(step.starts_node for step in taken) == nodes
    assert all(step.output for step in taken if step.language == "sh" and not step.starts_node)
