"""The five-minute tour of README.md is run, block by block, and prints what it says it prints."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.tidy.repository import read

#: The one thing that is changed: the tour's address becomes the node's real one, on a free port.
ADDRESS: Final = "127.0.0.1:9000"
ENVIRONMENT: Final = {"CHRONOS_LISTEN": "127.0.0.1:0", "CHRONOS_HTTP": "off"}
#: What differs from run to run: times, lateness, sizes, and how records were grouped.
VOLATILE: Final = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z|\+\d+ms|\d{3,}|\d+(?= valid records)")
TIMEOUT_S: Final = 60


class Step(NamedTuple):
    """A block of the tour, and what the text block after it says it prints."""

    language: str
    body: str
    output: str | None


def steps() -> Iterator[Step]:
    """The steps of the tour, in order."""
    tour = read("README.md").split("\n## Five-minute tour\n")[1].split("\n## ")[0]
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", tour, re.MULTILINE | re.DOTALL)
    for (language, body), (after, text) in zip(blocks, [*blocks[1:], ("", "")], strict=True):
        if language != "text":
            yield Step(language, body, text if after == "text" else None)


def settled(text: str) -> list[str]:
    """Lines without what differs from run to run."""
    return [VOLATILE.sub("…", line).rstrip() for line in text.splitlines()]


class Traveller:
    """Types the tour into a shell, in an empty directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._address = ADDRESS
        self._nodes: list[subprocess.Popen[str]] = []
        scripts = Path(sys.executable).parent
        self._environment = os.environ | ENVIRONMENT | {"PATH": f"{scripts}:{os.environ['PATH']}"}

    def take(self, step: Step) -> str:
        """Do one step; what it printed."""
        if step.body.startswith("chronos-node "):
            return self._start_node(step.body)
        shell = {"sh": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}
        done = subprocess.run(
            [*shell[step.language], step.body.replace(ADDRESS, self._address)],
            cwd=self._directory,
            env=self._environment | {"CHRONOS_SERVER": self._address},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert not done.stderr, done.stderr
        assert done.returncode == 0
        return done.stdout

    def go_home(self) -> None:
        """Stop every node that still runs."""
        for node in self._nodes:
            with node:
                with suppress(ProcessLookupError):
                    node.terminate()
                node.wait(TIMEOUT_S)

    def _start_node(self, line: str) -> str:
        for before in self._nodes:
            before.wait(TIMEOUT_S)
        node = subprocess.Popen(
            shlex.split(line),
            cwd=self._directory,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._nodes.append(node)
        assert node.stdout is not None
        said = node.stdout.readline()
        self._address = said.split()[-1]
        return said


@pytest.mark.slow
def test_the_tour_is_true(tmp_path: Path) -> None:
    """Every command and program succeeds, silently on stderr, and prints what the README shows."""
    traveller = Traveller(tmp_path)
    try:
        for step in steps():
            printed = traveller.take(step)
            if step.output is not None:
                assert settled(printed) == settled(step.output), f"{step.body}{printed}"
    finally:
        traveller.go_home()


def test_the_tour_has_a_shell_and_a_program() -> None:
    """The blocks are found: commands, a program, two starts of a node, and what they print."""
    taken = list(steps())
    assert {step.language for step in taken} == {"sh", "python"}
    assert sum(step.body.startswith("chronos-node ") for step in taken) == 2
    assert all(step.output for step in taken if not step.body.startswith("chronos-node "))
