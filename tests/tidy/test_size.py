"""Short functions, short files: the limits are hard, the usual is far below them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from statistics import median

from tests.tidy.repository import EVERYTHING, SOURCES, read

FILE_LINES_MAX = 450
FUNCTION_LINES_MAX = 60
FILE_LINES_USUAL = 200
FUNCTION_LINES_USUAL = 8


def functions(path: str) -> Iterator[tuple[str, int]]:
    """Each function of a file, and the lines of its body without the docstring."""
    for node in ast.walk(ast.parse(read(path))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            last = node.end_lineno or node.lineno
            yield f"{path}:{node.lineno} {node.name}", last - body[0].lineno + 1 if body else 0


def test_no_file_is_too_long() -> None:
    """A file is one idea; beyond this it is two."""
    long = {path: read(path).count("\n") for path in EVERYTHING}
    assert {path: lines for path, lines in long.items() if lines > FILE_LINES_MAX} == {}


def test_no_function_is_too_long() -> None:
    """A function fits on a screen."""
    long = dict(item for path in EVERYTHING for item in functions(path))
    assert {name: lines for name, lines in long.items() if lines > FUNCTION_LINES_MAX} == {}


def test_the_usual_file_and_function_are_short() -> None:
    """The medians hold, so that the limits do not become the habit."""
    assert median(read(path).count("\n") for path in SOURCES) <= FILE_LINES_USUAL
    lengths = [lines for path in SOURCES for _, lines in functions(path)]
    assert median(lengths) <= FUNCTION_LINES_USUAL
