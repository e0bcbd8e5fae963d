"""The documents lead somewhere: links, file maps and lists of seams match what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.tidy.repository import ROOT, read
from tests.tidy.test_seams import SEAMS

DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/*.md", "*/README.md", "*/FORMAT.md")
    for path in ROOT.glob(pattern)
)
NODE = ROOT / "node/chronosdb/node"


def anchors(text: str) -> set[str]:
    """The fragments that a document's headings make."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def leads_nowhere(document: Path, link: str) -> bool:
    """Whether a relative link names no file, or no heading of one."""
    path, _, fragment = link.partition("#")
    target = document.parent / path if path else document
    return not target.exists() or (bool(fragment) and fragment not in anchors(target.read_text()))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name: str) -> None:
    """Every link between documents names a file, and a heading in it."""
    links = re.findall(r"\]\((?!https?:)([^)\s]+)\)", read(name))
    assert [link for link in links if leads_nowhere(ROOT / name, link)] == []


def test_the_map_of_the_node_is_complete() -> None:
    """node/README.md names each file and folder of the node, and no other.

    The folders `demo` and `replay` have one line each; of all others each file is named.
    """
    table = "\n".join(re.findall(r"^\| `.*", read("node/README.md"), re.MULTILINE))
    named = re.findall(r"`([a-z_/]+(?:\.py|/))`", table)
    files = [str(path.relative_to(NODE)) for path in NODE.rglob("*.py")]
    whole = ("demo/", "replay/")
    listed = [f for f in files if not f.startswith(whole) and not f.endswith("/__init__.py")]
    assert sorted(named) == sorted([*listed, *whole])


@pytest.mark.parametrize("path", SEAMS)
def test_the_architecture_names_each_seam(path: str) -> None:
    """Whoever reads docs/architecture.md learns every way in from the outside world."""
    assert f"`{path}`" in read("docs/architecture.md")
