"""What the documents tell people to type exists."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from importlib.metadata import version

import click
import pytest

from chronosdb.client.cli.app import chronos
from chronosdb.node.configuration.config import node_command
from tests.tidy.repository import ROOT, pyproject, read

DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/*.md", "*/README.md")
    for path in ROOT.glob(pattern)
)


def commands(document: str) -> Iterator[list[str]]:
    """The words of each command in the fenced blocks of a document, cut at pipes and comments."""
    for block in re.findall(
        r"^```(?:sh|bash|console|text)?\n(.*?)^```", read(document), re.MULTILINE | re.DOTALL
    ):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"\s[|&;><]+\s|\s#\s", line.removeprefix("$ ").strip()):
                if re.match(r"(make|chronos|chronos-node)\b(?!\.)", part):
                    yield shlex.split(part)


def unknown_word(command: click.Command, words: list[str]) -> str | None:
    """The first word that is neither a sub-command nor an option; None if all are known."""
    context = click.Context(command)
    known = {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
    for position, word in enumerate(words):
        if word.startswith("--") and word.partition("=")[0] not in {*known, "--help"}:
            return word
        if isinstance(command, click.Group) and not word.startswith("-"):
            inner = command.get_command(context, word)
            if inner is not None:
                return unknown_word(inner, words[position + 1 :])
            if position == 0:
                return word
    return None


def problem(words: list[str]) -> str | None:
    """What is wrong with this command."""
    if words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE)
        return next((word for word in words[1:] if "=" not in word and word not in targets), None)
    root = chronos if words[0] == "chronos" else node_command(print)
    return unknown_word(root, words[1:])


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_in_documents_exist(document: str) -> None:
    """Every make target, sub-command and option that is shown can be typed."""
    found = {shlex.join(words): problem(words) for words in commands(document)}
    assert {line: word for line, word in found.items() if word is not None} == {}


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("make demo", None),
        ("make dmeo", "dmeo"),
        ("chronos --json topic create orders --partitions 4", None),
        ("chronos topics", "topics"),
        ("chronos topic create orders --partition 4", "--partition"),
        ("chronos-node --data-dir /srv", None),
        ("chronos-node --datadir /srv", "--datadir"),
    ],
)
def test_the_check_itself_finds_mistakes(line: str, word: str | None) -> None:
    """A misspelt command is found, a right one is not."""
    assert problem(shlex.split(line)) == word


def test_the_readme_names_the_two_commands() -> None:
    """Whoever opens the repository sees how to try and how to test it."""
    shown = [shlex.join(words) for words in commands("README.md")]
    assert {"make demo", "make test"} <= set(shown)


def test_one_version_everywhere() -> None:
    """The installed package, pyproject.toml and the changelog agree."""
    declared = pyproject()["project"]["version"]
    assert version("chronosdb") == declared
    assert declared in read("CHANGELOG.md")
