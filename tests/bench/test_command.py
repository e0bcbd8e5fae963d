"""`python -m bench`: its options, and one real measurement."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import PIECES, main
from bench.record import read_record


@pytest.mark.parametrize("piece", [*PIECES, "peers", "plot", "all"])
def test_every_piece_says_what_it_measures_and_with_what_options(piece: str) -> None:
    """A piece without a text for one of its sizes could not even be listed."""
    result = CliRunner().invoke(main, [piece, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage" in result.output


def test_every_piece_has_cases_with_names_of_their_own() -> None:
    """With its default sizes."""
    for build in PIECES.values():
        names = [case.name for case in build().cases]
        assert names
        assert len(set(names)) == len(names)


@pytest.mark.slow
def test_a_piece_is_measured_on_a_real_node_and_written_down(tmp_path: Path) -> None:
    """The smallest that there is."""
    path = tmp_path / "found.json"
    options = ["--events", "1000", "--batch", "100", "--callers", "1", "--runs", "1"]
    result = CliRunner().invoke(main, ["publish", *options, "--json", str(path)])
    assert result.exit_code == 0, result.output
    found = read_record(path).table("publish")
    assert found is not None
    assert all(result.runs[0].figures["events/s"] > 0 for result in found.results)
