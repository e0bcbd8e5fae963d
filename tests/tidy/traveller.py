"""A document's commands and programs, typed into a shell as a reader would, and what they print."""

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

#: The one thing that is changed: a document's address becomes the node's real one, on a free port.
ADDRESS: Final = "127.0.0.1:9000"
ENVIRONMENT: Final = {"CHRONOS_LISTEN": "127.0.0.1:0", "CHRONOS_HTTP": "off"}
TIMEOUT_S: Final = 60


class Step(NamedTuple):
    """A fenced block, and what the text block after it says it prints; nothing if there is none."""

    language: str
    body: str
    output: str

    @property
    def starts_node(self) -> bool:
        """Whether it is a command that goes on while the next steps are taken."""
        return self.body.startswith("chronos-node ")


def steps(text: str) -> Iterator[Step]:
    """The blocks of a document that are to be run, in order."""
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    for (language, body), (after, printed) in zip(blocks, [*blocks[1:], ("", "")], strict=True):
        if language != "text":
            yield Step(language, body, printed if after == "text" else "")


class Traveller:
    """Takes the steps of a document, in an empty directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._address = ADDRESS
        self._nodes: list[subprocess.Popen[str]] = []
        scripts = Path(sys.executable).parent
        self._environment = os.environ | ENVIRONMENT | {"PATH": f"{scripts}:{os.environ['PATH']}"}

    def take(self, step: Step) -> str:
        """Do one step; what a terminal shows of it. A node stays, and what it says is not shown."""
        if step.starts_node:
            self._start_node(step.body)
            return ""
        shell = {"sh": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}
        done = subprocess.run(
            [*shell[step.language], step.body.replace(ADDRESS, self._address)],
            cwd=self._directory,
            env=self._environment | {"CHRONOS_SERVER": self._address},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, f"{step.body}{done.stdout}"
        return done.stdout

    def go_home(self) -> None:
        """Stop every node that still runs."""
        for node in self._nodes:
            with node:
                with suppress(ProcessLookupError):
                    node.terminate()
                node.wait(TIMEOUT_S)

    def _start_node(self, line: str) -> None:
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
        _, ready_on, address = node.stdout.readline().partition("ready on ")
        assert ready_on, "the node did not start"
        self._address = address.strip()
