"""The examples of docs/testing.md, run as a user would: in a directory of their own, by plain pytest."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(
    r"^```python\n(.*?)^```", (ROOT / "docs/testing.md").read_text(), re.MULTILINE | re.DOTALL
)


@pytest.mark.slow
def test_the_examples_pass(tmp_path: Path) -> None:
    """Each block is a test file; the fixture comes with the installed package, nothing is configured."""
    for number, block in enumerate(BLOCKS):
        (tmp_path / f"test_example_{number}.py").write_text(block)
    scripts = Path(sys.executable).parent
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--rootdir",
            str(tmp_path),
        ],
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{scripts}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert f"{len(BLOCKS)} passed" in done.stdout


def test_the_plug_in_costs_nothing_until_it_is_used() -> None:
    """Pytest loads it in every run: it must not load the node."""
    program = (
        "import sys, chronosdb.testing.pytest_plugin;"
        "print([n for n in sys.modules if n.startswith('chronosdb.') and 'testing' not in n])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
