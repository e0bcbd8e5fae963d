"""`chronos group`, `chronos dlq` and `chronos topic delete` against a client that notes what it is asked."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from chronosdb.client import (
    Client,
    DeadLetter,
    GroupInfo,
    GroupMember,
    GroupMove,
    GroupPartition,
    GroupSummary,
)
from chronosdb.client.cli.app import run
from chronosdb.client.cli.exits import Exit
from chronosdb.client.cli.values import format_age
from chronosdb.wire.errors import Conflict

NOW_MS = 1_900_000_000_000
LETTER = DeadLetter(
    id="dlq-1",
    topic="orders",
    partition=1,
    offset=7,
    message_id="pay-42",
    schedule_ts=NOW_MS,
    group="billing",
    reason="no such\naccount",
    attempts=5,
    failed_ts=NOW_MS + 60_000,
    payload=b"\xff",
    meta={"k": "v"},
    key=b"u7",
)
GROUP = GroupInfo(
    "orders",
    "billing",
    "shared",
    NOW_MS,
    3,
    [GroupPartition(0, 5, 9, 3, 90_000, 1, 1, NOW_MS), GroupPartition(1, 2, 2, 0, 0, 0, 0, NOW_MS)],
    [GroupMember(4, "worker-1", [0, 1], 250, 1)],
)


@dataclass
class Operator:
    """The part of a client that these commands use; every call is noted."""

    calls: list[tuple[Any, ...]] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=lambda: [LETTER])

    @asynccontextmanager
    async def connect(
        self,
        addresses: str,
        *,
        timeout: float,  # noqa: ASYNC109 - the name is the contract's
    ) -> AsyncIterator[Client]:
        assert (addresses, timeout) == ("127.0.0.1:9000", 10)
        yield cast("Client", self)

    @property
    def dlq(self) -> Operator:
        return self

    def note(self, *call: Any) -> None:
        self.calls.append(call)

    async def groups(self, topic: str) -> list[GroupSummary]:
        self.note("groups", topic)
        return [GroupSummary("billing", "shared", NOW_MS, 1, 3)]

    async def group(self, topic: str, name: str) -> GroupInfo:
        self.note("group", topic, name)
        return GROUP

    async def reset_group(self, topic: str, name: str, **terms: Any) -> list[GroupMove]:
        self.note("reset", topic, name, terms)
        return [GroupMove(0, 5, 0, 9)]

    async def delete_group(self, topic: str, name: str) -> None:
        self.note("delete group", topic, name)
        if name == "busy":
            raise Conflict("group 'busy' has members now (1): stop them first")

    async def delete_topic(self, name: str) -> None:
        self.note("delete topic", name)

    async def list(self, topic: str, **terms: Any) -> AsyncIterator[DeadLetter]:
        self.note("list", topic, terms)
        for letter in self.letters:
            yield letter

    async def inspect(self, topic: str, message_id: str) -> DeadLetter | None:
        self.note("inspect", topic, message_id)
        return next((x for x in self.letters if message_id in {x.id, x.message_id}), None)

    async def redrive(self, topic: str, **terms: Any) -> int:
        self.note("redrive", topic, terms)
        return len(self.letters)

    async def purge(self, topic: str, **terms: Any) -> int:
        self.note("purge", topic, terms)
        return len(self.letters)


@pytest.fixture
def operator() -> Operator:
    """Somebody to ask."""
    return Operator()


@pytest.fixture
def chronos(operator: Operator) -> Callable[..., int]:
    """Runs `chronos` with that client."""
    return lambda *argv: run(argv, connect=operator.connect)


def test_groups_as_a_table(chronos: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    """Tab-separated in a pipe."""
    assert chronos("group", "list", "orders") is Exit.OK
    assert capsys.readouterr().out.splitlines() == [
        "group\tmode\tmembers\tlag\tcreated",
        "billing\tshared\t1\t3\t2030-03-17T17:46:40.000Z",
    ]


def test_a_group_for_people_and_for_programs(
    chronos: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """Its lag in events and in time, partitions, members."""
    assert chronos("group", "show", "orders", "billing") is Exit.OK
    shown = capsys.readouterr().out
    assert "lag           3 events, the first due 1m 30s ago\n" in shown
    assert "0\t5\t9\t3\t1m 30s\t1\t1\n" in shown
    assert "4\tworker-1\t0,1\t1\t250\n" in shown
    assert chronos("group", "show", "orders", "billing", "--json") is Exit.OK
    found = json.loads(capsys.readouterr().out)
    assert (found["group"], found["lag"], found["lag_ms"]) == ("billing", 3, 90_000)
    assert found["partitions"][0]["position"] == 5
    assert found["members"][0]["client"] == "worker-1"


def test_resetting_a_group(
    chronos: Callable[..., int], operator: Operator, capsys: pytest.CaptureFixture[str]
) -> None:
    """To a word or to a time; a dry run says that it was one."""
    assert chronos("group", "reset", "orders", "billing", "--to", "earliest", "--dry-run") == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[1] == "0\t5\t0\t9"
    assert "nothing was changed" in err
    assert chronos("group", "reset", "orders", "billing", "--to", str(NOW_MS), "--force") == 0
    dry = {"to": "earliest", "dry_run": True, "force": False}
    forced = {"to": NOW_MS, "dry_run": False, "force": True}
    assert operator.calls == [
        ("reset", "orders", "billing", dry),
        ("reset", "orders", "billing", forced),
    ]
    assert chronos("group", "reset", "orders", "billing") is Exit.USAGE
    assert chronos("group", "reset", "orders", "billing", "--to", "yesterday") is Exit.USAGE


class Terminal(io.StringIO):
    """Somebody who answers questions."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    "words",
    [
        ("group", "delete", "orders", "billing"),
        ("topic", "delete", "orders"),
        ("dlq", "purge", "orders", "--all"),
    ],
    ids=" ".join,
)
def test_nothing_is_deleted_without_a_yes(
    chronos: Callable[..., int],
    operator: Operator,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
) -> None:
    """A person is asked; a script must say it."""
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert chronos(*words) is Exit.USAGE
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    assert chronos(*words) is Exit.INTERRUPTED
    assert operator.calls == []
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    assert chronos(*words) is Exit.OK
    assert chronos(*words, "--yes") is Exit.OK
    assert len(operator.calls) == 2


def test_a_group_in_use_is_a_conflict(
    chronos: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 5, and what to do."""
    assert chronos("group", "delete", "orders", "busy", "--yes") is Exit.CONFLICT
    assert "stop them first" in capsys.readouterr().err


def test_dead_letters_one_on_a_line(
    chronos: Callable[..., int], operator: Operator, capsys: pytest.CaptureFixture[str]
) -> None:
    """A reason cannot break out of its line; JSON has everything."""
    assert chronos("dlq", "list", "orders", "--group", "billing", "--limit", "5") is Exit.OK
    out, err = capsys.readouterr()
    assert out == (
        "2030-03-17T17:47:40.000Z  pay-42  group=billing  5 attempts: no such\\naccount\n"
    )
    assert err == "1 dead letter\n"
    assert operator.calls == [("list", "orders", {"group": "billing", "limit": 5})]
    chronos("dlq", "list", "orders", "--json")
    found = json.loads(capsys.readouterr().out)
    assert (found["id"], found["message_id"], found["attempts"]) == ("dlq-1", "pay-42", 5)
    assert (found["payload_b64"], found["key"], found["meta"]) == ("/w==", "u7", {"k": "v"})


def test_one_dead_letter(chronos: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    """By either id; another is not found."""
    assert chronos("dlq", "show", "orders", "pay-42") is Exit.OK
    assert "given up     2030-03-17T17:47:40.000Z by group billing\n" in capsys.readouterr().out
    assert chronos("dlq", "show", "orders", "pay-43") is Exit.NOT_FOUND
    assert "pay-43" in capsys.readouterr().err


def test_letters_are_redriven_as_chosen(
    chronos: Callable[..., int], operator: Operator, capsys: pytest.CaptureFixture[str]
) -> None:
    """By id, by group, or all; not by mistake."""
    assert chronos("dlq", "redrive", "orders", "a", "b", "--rate", "10") is Exit.OK
    assert chronos("dlq", "redrive", "orders", "--group", "billing", "--json") is Exit.OK
    assert chronos("dlq", "redrive", "orders", "--all") is Exit.OK
    out = capsys.readouterr().out.splitlines()
    assert out[0] == out[2] == "redriven 1 dead letter"
    assert json.loads(out[1]) == {"topic": "orders", "redriven": 1}
    terms = [call[2] for call in operator.calls]
    assert terms == [
        {"ids": ("a", "b"), "group": None, "rate": 10.0},
        {"ids": None, "group": "billing", "rate": None},
        {"ids": None, "group": None, "rate": None},
    ]
    assert chronos("dlq", "redrive", "orders") is Exit.USAGE
    operator.letters.clear()
    assert chronos("dlq", "redrive", "orders", "a") is Exit.NOT_FOUND


def test_letters_are_purged_as_chosen(chronos: Callable[..., int], operator: Operator) -> None:
    """A time will do; without any choice it is wrong usage."""
    assert chronos("dlq", "purge", "orders", "--before", str(NOW_MS), "--yes") is Exit.OK
    assert operator.calls == [("purge", "orders", {"ids": None, "group": None, "before": NOW_MS})]
    assert chronos("dlq", "purge", "orders", "--yes") is Exit.USAGE


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "0ms"),
        (999, "999ms"),
        (4_200, "4.2s"),
        (59_999, "59.9s"),
        (750_000, "12m 30s"),
        (12_000_000, "3h 20m"),
        (187_200_000, "2d 4h"),
    ],
)
def test_ages_are_for_people(ms: int, text: str) -> None:
    """Two units at most."""
    assert format_age(ms) == text
