"""A strike of some faults; `python -m tests.process.faults` strikes as often as one likes."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.process.faults import available, main, run_faults
from tests.process.faults_kinds import FAULTS


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pause", "power"])
def test_a_fault_breaks_no_promise(tmp_path: Path, name: str) -> None:
    """Work goes on around it; afterwards everything is there, once, settled, and was never early."""
    for reason in available([name])[1].values():
        pytest.skip(f"{name}: {reason}")
    result = run_faults(tmp_path, [name], seconds=0.5, seed=3, calm_s=0.2, horizon_ms=800)
    assert result.kept, (result.violations, result.problems, result)
    assert result.faults[name] >= 1
    assert result.published > 20


@pytest.fixture
def bare_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """One without any tools, and without root."""
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("tests.process.faults_machine._library", lambda: None)


@pytest.mark.usefixtures("bare_machine")
def test_what_a_machine_does_not_allow_is_skipped_with_the_reason() -> None:
    """The others are struck all the same."""
    there, skipped = available(list(FAULTS))
    assert {fault.name for fault in there} == {"kill", "pause", "consumers"}
    assert skipped["power"] == "mkfs.ext4, mount, umount not installed"
    assert skipped["clock"] == "libfaketime not installed"
    assert all(skipped.values())


@pytest.mark.usefixtures("bare_machine")
def test_a_fault_asked_for_by_name_must_be_there() -> None:
    """It is never green by silence."""
    ended = CliRunner().invoke(main, ["--faults", "kill,power"])
    assert ended.exit_code == 2
    assert "SKIPPED power" in ended.output
