"""One trial: a private copy of the tree, a bug in it or none, and whether the check notices.

The checkout is never written to. Imports are led to the copy by PYTHONPATH, which comes before the
editable installation, also in the processes that a test starts.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from tests.mutants.table import PRODUCT, ROOT, Mutant

#: The same examples every time, no shrinking, an end at the first failure.
PYTEST = (
    *("-m", "pytest", "-x", "-q", "-rfE", "-p", "no:cacheprovider"),
    *("-p", "tests.mutants.plugin", "--hypothesis-seed=0"),
)
#: Without a bug a check may take this long: it then runs to its end.
CONTROL_BUDGET_S = 120
_FAILED = re.compile(r"^(?:FAILED|ERROR) (tests/.+?)(?: - (.*))?$", re.MULTILINE)
_TESTS_FAILED = 1


class Verdict(Enum):
    """What a trial came to."""

    CAUGHT = "caught"
    SURVIVED = "SURVIVED"
    TOO_SLOW = "TOO SLOW"
    #: The check could not run: no such test, or it cannot be imported. That is no proof.
    BROKEN = "BROKEN"


@dataclass(frozen=True, slots=True)
class Trial:
    """How a check ended."""

    verdict: Verdict
    #: The test that failed, and its last words.
    by: str
    why: str
    seconds: float
    #: All that pytest said.
    output: str


def copy_tree(source: Path, target: Path) -> None:
    """The repository as far as tests look at it; compiled files come along, and save seconds."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(".*"), dirs_exist_ok=True)


def try_mutant(pristine: Path, mutant: Mutant) -> Trial:
    """Run the mutant's check against the mutant.

    Raises:
        TableError: its patch does not apply.
    """
    mutated = mutant.mutated(pristine)
    with TemporaryDirectory(prefix="mutant-") as folder:
        tree = Path(folder)
        copy_tree(pristine, tree)
        (tree / mutant.file).write_text(mutated)
        return _check(tree, mutant.selection, mutant.budget_s)


def try_control(pristine: Path, selection: tuple[str, ...]) -> Trial:
    """Run a check without any bug: one that fails even then catches nothing."""
    with TemporaryDirectory(prefix="control-") as folder:
        tree = Path(folder)
        copy_tree(pristine, tree)
        return _check(tree, selection, CONTROL_BUDGET_S)


def imported_from(tree: Path) -> Path:
    """Where Python finds the product when a check of `tree` runs: inside it, or all is in vain."""
    code = "import chronosdb.node; print(chronosdb.node.__file__)"
    command = [sys.executable, "-c", code]
    said = subprocess.run(
        command, cwd=tree, env=_environment(tree), capture_output=True, text=True, check=True
    )
    return Path(said.stdout.strip())


def _environment(tree: Path) -> dict[str, str]:
    roots = [tree, *(tree / folder for folder in PRODUCT)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, roots)), "COLUMNS": "1000"}


def _check(tree: Path, selection: tuple[str, ...], budget_s: float) -> Trial:
    began_s = perf_counter()
    process = subprocess.Popen(
        [sys.executable, *PYTEST, *selection],
        cwd=tree,
        env=_environment(tree),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=budget_s)
        verdict = verdict_of(process.returncode)
    except subprocess.TimeoutExpired:
        output, verdict = "", Verdict.TOO_SLOW
    finally:
        # With everything that its tests started.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    found = _FAILED.search(output)
    by, why = (found[1], found[2] or "") if found else ("", "")
    return Trial(verdict, by, why, perf_counter() - began_s, output)


def verdict_of(exit_code: int) -> Verdict:
    """What pytest's exit code says about a mutant."""
    if exit_code == 0:
        return Verdict.SURVIVED
    return Verdict.CAUGHT if exit_code == _TESTS_FAILED else Verdict.BROKEN


def copy_of(checkout: Path, target: Path) -> None:
    """Take the one copy that all trials of a run start from, whatever happens to the checkout."""
    copy_tree(checkout, target)
    found = imported_from(target)
    if not found.is_relative_to(target):
        raise RuntimeError(f"the copy's checks would import {found}: nothing would be mutated")


__all__ = ["ROOT", "Trial", "Verdict", "copy_of", "try_control", "try_mutant", "verdict_of"]
