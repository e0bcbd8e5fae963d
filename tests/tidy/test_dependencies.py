"""docs/dependencies.md says what is used and by whom; here it is held to that."""

from __future__ import annotations

import ast
import logging
import re
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache

import pytest
from importlinter import cli

from tests.tidy.repository import (
    ROOT,
    SOURCE_FOLDERS,
    SOURCES,
    pyproject,
    python_files,
    read,
    requirement_name,
)

DOCUMENT = read("docs/dependencies.md")
RUNTIME = [requirement_name(line) for line in pyproject()["project"]["dependencies"]]
#: What users install for their own tests; also in the development group.
TESTING = [
    requirement_name(line) for line in pyproject()["project"]["optional-dependencies"]["testing"]
]
#: Optional: for measuring, by bench/ alone.
MEASURING = [
    requirement_name(line)
    for extra in ("bench", "peers")
    for line in pyproject()["project"]["optional-dependencies"][extra]
]
DEVELOPMENT = [requirement_name(line) for line in pyproject()["dependency-groups"]["dev"]]
#: Distributions whose module has another name.
MODULES = {"google-crc32c": "google_crc32c", "prometheus-client": "prometheus_client"}


def rows() -> dict[str, list[str]]:
    """The cells of each table row, by the library in the first."""
    lines = [line.split(" | ") for line in DOCUMENT.splitlines() if line.startswith("| `")]
    return {cells[0].strip("|` "): cells for cells in lines}


def imported(path: str) -> set[str]:
    """The top-level modules that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(read(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names.add(ast.literal_eval(node.args[0]).partition(".")[0])
    return names


@cache
def imports() -> dict[str, set[str]]:
    """What each source file imports."""
    return {path: imported(path) for path in SOURCES}


def test_the_document_lists_exactly_what_is_declared() -> None:
    """Every dependency has a row, and every row is a dependency."""
    assert sorted(rows()) == sorted(RUNTIME + DEVELOPMENT + MEASURING)


@pytest.mark.parametrize("library", [*RUNTIME, "pytest"])
def test_a_library_is_imported_where_the_document_allows(library: str) -> None:
    """Each library is used, and by nothing but the files of its third column."""
    module = MODULES.get(library, library)
    allowed = re.findall(r"`([^`]+)`", rows()[library][2])
    users = [path for path, names in imports().items() if module in names]
    assert users
    assert [path for path in users if not any(fnmatch(path, glob) for glob in allowed)] == []


@pytest.mark.parametrize("library", MEASURING)
def test_a_library_to_measure_with_is_imported_where_the_document_allows(library: str) -> None:
    """By one file of bench, if at all, so that nobody else needs it."""
    allowed = re.findall(r"`([^`]+)`", rows()[library][2])
    users = [path for path in python_files(*SOURCE_FOLDERS, "bench") if library in imported(path)]
    assert users == allowed


def test_nothing_undeclared_is_imported() -> None:
    """What is neither ours, nor the standard library's, nor declared, is not there for a user."""
    known = {MODULES.get(name, name) for name in [*RUNTIME, *TESTING]} | set(
        sys.stdlib_module_names
    )
    strangers = {path: names - known - {"chronosdb"} for path, names in imports().items()}
    assert {path: names for path, names in strangers.items() if names} == {}


def test_what_users_need_for_their_tests_we_have_too() -> None:
    """The extra `testing` asks for nothing that our own tests do not run with."""
    assert set(TESTING) <= set(DEVELOPMENT)


def test_everything_declared_is_locked() -> None:
    """requirements.lock holds each dependency, with hashes."""
    locked = re.findall(
        r"^([a-z0-9._-]+)==\S+ (?:;.*)?\\\n +--hash=", read("requirements.lock"), re.MULTILINE
    )
    assert set(RUNTIME + DEVELOPMENT) - set(locked) == set()


@pytest.fixture
def loggers() -> Iterator[None]:
    """All loggers as they were: what import-linter sets up for itself silences every other."""
    known = [logging.getLogger(name) for name in logging.root.manager.loggerDict]
    before = [logger.disabled for logger in known]
    yield
    for logger, disabled in zip(known, before, strict=True):
        logger.disabled = disabled


@pytest.mark.usefixtures("loggers")
def test_imports_go_one_way(capsys: pytest.CaptureFixture[str]) -> None:
    """The layers and prohibitions of pyproject.toml hold."""
    failed = cli.lint_imports(config_filename=str(ROOT / "pyproject.toml"), cache_dir=None)
    assert not failed, capsys.readouterr().out
