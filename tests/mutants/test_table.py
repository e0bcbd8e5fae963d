"""The table of seeded bugs is true: each patch applies, names a promise, and asks for a check that exists."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants.table import ROOT, Mutant, TableError, all_mutants
from tests.mutants.trial import Verdict, copy_of, try_control, try_mutant, verdict_of

MUTANTS = all_mutants()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_bug_applies_to_the_product_as_it_is(mutant: Mutant) -> None:
    mutant.mutated(ROOT)
    paths = [argument.partition("::")[0] for argument in mutant.selection]
    named = [path for path in paths if path.startswith("tests/")]
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_promise_is_broken_by_some_bug() -> None:
    promised = {f"I{n}" for n in range(1, 18)}
    assert promised - {mutant.promise for mutant in MUTANTS} == set()


ROW = {
    "bug": "…",
    "promise": "I1",
    "file": "wal/chronosdb/wal/log.py",
    "old": "def open(",
    "new": "def opened(",
    "check": "tests/wal/test_log.py",
    "budget_s": 5,
}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"promise": "I18"}, "is no promise"),
        ({"file": "tests/conftest.py"}, "no file of the product"),
        ({"file": "wal/chronosdb/wal/logs.py"}, "there is no"),
        ({"budget_s": 3600}, "budget must be"),
        ({"why": "…"}, "it must have"),
        ({"old": "nowhere to be found"}, "is 0 times in"),
        ({"old": "self"}, "times in"),
        ({"new": "def open("}, "is its old one"),
        ({"new": "def open(("}, "is no Python"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else value,
)
def test_a_row_that_proves_nothing_is_refused(change: dict[str, object], says: str) -> None:
    with pytest.raises(TableError, match=says):
        Mutant.of_row("one", ROW | change).mutated(ROOT)


def test_only_a_failed_test_catches_a_mutant() -> None:
    codes = [pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED]
    assert [verdict_of(code) for code in codes] == [Verdict.SURVIVED, Verdict.CAUGHT]
    others = set(pytest.ExitCode) - set(codes)
    assert {verdict_of(code) for code in others} == {Verdict.BROKEN}


@pytest.mark.slow
def test_a_trial_runs_its_check_against_the_bug_and_leaves_the_checkout_alone(
    tmp_path: Path,
) -> None:
    """As `make mutants` does it for all of them."""
    mutant = next(mutant for mutant in MUTANTS if mutant.name == "a_checksum_that_is_not_checked")
    before = (ROOT / mutant.file).read_text()
    copy_of(ROOT, tmp_path)
    trial = try_mutant(tmp_path, mutant)
    assert (trial.verdict, trial.by.partition("::")[0]) == (Verdict.CAUGHT, mutant.check)
    assert try_control(tmp_path, mutant.selection).verdict is Verdict.SURVIVED
    assert (ROOT / mutant.file).read_text() == before
