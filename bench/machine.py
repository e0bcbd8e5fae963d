"""What the figures depend on, as far as a program can tell."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Machine:
    """Shared by node and clients."""

    cpus: int
    python: str
    system: str

    def __str__(self) -> str:
        """For people."""
        return f"{self.cpus} CPUs, shared by node and clients; Python {self.python}; {self.system}"


def this_machine() -> Machine:
    """The one that we run on."""
    # What follows the number is the name of somebody's build.
    release = platform.release().partition("-")[0]
    return Machine(
        len(os.sched_getaffinity(0)),
        platform.python_version(),
        f"{platform.system()} {release} {platform.machine()}",
    )
