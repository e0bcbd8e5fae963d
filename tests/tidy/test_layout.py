"""The namespace package stays one: see "Layout" in docs/architecture.md."""

from __future__ import annotations

import ast
from importlib import import_module

import pytest

from tests.tidy.repository import PACKAGES, ROOT, SOURCE_FOLDERS, SOURCES, read


@pytest.mark.parametrize("folder", SOURCE_FOLDERS)
def test_nobody_owns_the_namespace(folder: str) -> None:
    """A chronosdb/__init__.py in one folder would hide the other four."""
    assert (ROOT / folder / "chronosdb").is_dir()
    assert not (ROOT / folder / "chronosdb" / "__init__.py").exists()


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_is_typed(package: str) -> None:
    """Users' type checkers see our types."""
    assert (ROOT / package / "py.typed").exists()


# The node is a process; nobody imports names from it.
@pytest.mark.parametrize("package", [name for name in PACKAGES if not name.endswith("node")])
def test_each_library_says_what_it_exports(package: str) -> None:
    """Every name of a package's `__all__` exists and is listed once."""
    module = import_module(package.partition("/")[2].replace("/", "."))
    assert sorted(set(module.__all__)) == sorted(module.__all__)
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


def test_every_module_says_what_it_is() -> None:
    """Each source file begins with a docstring."""
    assert [path for path in SOURCES if not ast.get_docstring(ast.parse(read(path)))] == []


@pytest.mark.parametrize("folder", SOURCE_FOLDERS)
def test_each_part_explains_itself(folder: str) -> None:
    """Each top-level folder has a README.md."""
    assert (ROOT / folder / "README.md").read_text().startswith("# ")
