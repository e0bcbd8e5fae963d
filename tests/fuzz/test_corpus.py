"""Every input that was ever worth keeping, tried again."""

from __future__ import annotations

from typing import get_args

import pytest

from chronosdb.raft.commands import Command
from chronosdb.wire import messages as m
from tests.fuzz.corpus import CORPUS, load
from tests.fuzz.engine import replay
from tests.fuzz.samples import FROM_CLIENT, FROM_SERVER
from tests.fuzz.targets import TARGETS
from tests.fuzz.targets.metadata import COMMANDS


@pytest.mark.parametrize("name", TARGETS)
def test_every_kept_input_keeps_its_promises(name: str) -> None:
    """Documented errors only, little time, little memory, and what is read can be written again."""
    target = TARGETS[name]
    for data in [*target.seeds(), *load(name)]:
        replay(target, data)


@pytest.mark.parametrize("name", TARGETS)
def test_good_inputs_are_taken(name: str) -> None:
    """A seed that is refused would leave what lies behind the refusal unseen."""
    target = TARGETS[name]
    refused = target.run(b"\xc1 no such thing")
    assert [data for data in target.seeds() if target.run(data) == refused] == []


def test_fuzzing_begins_with_every_message() -> None:
    """One sample of each, and of every command, so that none is left out."""
    assert {type(message) for message in FROM_CLIENT} == set(get_args(m.ClientMessage))
    assert {type(message) for message in FROM_SERVER} == set(get_args(m.ServerMessage))
    assert {type(command) for command in COMMANDS} == set(get_args(Command))


def test_every_file_of_the_corpus_is_a_targets() -> None:
    """A renamed target takes its corpus along."""
    assert {path.stem for path in CORPUS.iterdir()} <= set(TARGETS)
