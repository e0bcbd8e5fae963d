"""The programs in docs/examples and the Python of docs/clients.md, against a real node."""

from __future__ import annotations

import ast
import inspect
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from chronosdb.client import connect
from tests.process.conftest import StartNode
from tests.tidy.repository import ROOT, read
from tests.tidy.traveller import ADDRESS, steps

pytestmark = pytest.mark.slow

EXAMPLES: Final = ROOT / "docs/examples"
#: The last line of each program.
LAST_WORDS: Final = {
    "asyncio_service.py": "19 payments captured",
    "threads.py": "40 calls succeeded",
    "trio_worker.py": "barber: Tomorrow at noon.",
}


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
async def test_an_example_does_its_work_and_ends(path: Path, start_node: StartNode) -> None:
    """Without a warning, in seconds, with nothing left undone."""
    node = await start_node()
    with trio.fail_after(20):
        done = await trio.run_process(
            [sys.executable, "-W", "error", str(path), node.address],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
    assert not done.stderr, done.stderr.decode()
    assert done.returncode == 0
    assert done.stdout.decode().splitlines()[-1] == LAST_WORDS[path.name]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_fits_on_a_page(path: Path) -> None:
    """Less than 60 lines."""
    assert path.read_text().count("\n") < 60


async def test_the_guide_for_clients_is_true(start_node: StartNode) -> None:
    """Its blocks run in order, one after the other on one node; what they assert holds.

    A block that awaits goes on where the one before ended; any other is a program of its own.
    """
    node = await start_node()
    async with connect(node.address) as db:
        told: dict[str, Any] = {"db": db}
        for step in steps(read("docs/clients.md")):
            assert step.language == "python"
            code = compile(
                step.body.replace(ADDRESS, node.address),
                "docs/clients.md",
                "exec",
                flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
            )
            with trio.fail_after(20):
                if code.co_flags & inspect.CO_COROUTINE:
                    await eval(code, told)
                else:
                    await trio.to_thread.run_sync(exec, code, {"__name__": "__main__"})
