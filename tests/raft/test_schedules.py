"""Schedules in the metadata: generations are never reused, progress never goes back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from chronosdb.raft import (
    AdvanceSchedules,
    Command,
    CreateTopic,
    DeleteSchedule,
    DeleteTopic,
    PauseSchedule,
    PutSchedule,
    Request,
    Result,
    ResumeSchedule,
    ScheduleInfo,
    Status,
    limits,
)
from chronosdb.raft.encoding import encode
from chronosdb.raft.state import ClusterState


class Machine:
    """A state with a topic "t"."""

    def __init__(self) -> None:
        self.state = ClusterState()
        self.index = 0
        self.do(CreateTopic("t", 1))

    def do(self, command: Command) -> Result:
        self.index += 1
        return self.state.apply(Request("c", self.index, 0, command), self.index)

    def put(self, name: str = "s", *, now_ms: int = 100, **changes: Any) -> Result:
        """A schedule; `changes` replace fields of it."""
        fields: dict[str, Any] = {"topic": "t", "definition": b"hourly", "paused": False}
        return self.do(PutSchedule(name, now_ms=now_ms, **fields | changes))

    @property
    def schedules(self) -> Mapping[str, ScheduleInfo]:
        return self.state.view.schedules


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_putting_an_equal_schedule_again_changes_nothing(machine: Machine) -> None:
    """A client may retry: generation and progress stay."""
    first = machine.put()
    machine.do(AdvanceSchedules({f"s/{first.id}": 500}))
    view = machine.state.view
    again = machine.put(now_ms=900)
    assert (again.ok, again.created, again.id) == (True, False, first.id)
    assert machine.state.view is view


@pytest.mark.parametrize("change", [{"definition": b"daily"}, {"paused": True}, {"topic": "u"}])
def test_a_changed_schedule_is_a_new_generation_that_begins_now(
    machine: Machine, change: dict[str, Any]
) -> None:
    """Nothing of the earlier one's progress counts."""
    machine.do(CreateTopic("u", 1))
    first = machine.put()
    machine.do(AdvanceSchedules({f"s/{first.id}": 5_000}))
    second = machine.put(now_ms=900, **change)
    schedule = machine.schedules["s"]
    assert first.id < second.id == schedule.generation
    assert (schedule.put_ms, schedule.done_ms) == (900, 900)


def test_a_generation_is_never_reused(machine: Machine) -> None:
    """Not after deleting, and not after deleting the topic."""
    generations = [machine.put().id]
    machine.do(DeleteSchedule("s"))
    generations.append(machine.put().id)
    machine.do(DeleteTopic("t"))
    assert not machine.schedules
    machine.do(CreateTopic("t", 1))
    generations.append(machine.put().id)
    assert generations == sorted(set(generations))


def test_a_pause_keeps_what_is_done_and_resuming_begins_anew(machine: Machine) -> None:
    """What the pause stopped is not made up; pausing or resuming twice is doing it once."""
    first = machine.put()
    machine.do(PauseSchedule("s"))
    machine.do(PauseSchedule("s"))
    assert machine.schedules["s"] == ScheduleInfo("s", "t", b"hourly", True, first.id, 100, 100)
    resumed = machine.do(ResumeSchedule("s", 700))
    assert machine.do(ResumeSchedule("s", 800)).id == resumed.id > first.id
    assert machine.schedules["s"] == ScheduleInfo("s", "t", b"hourly", False, resumed.id, 100, 700)


def test_progress_is_of_one_generation_and_never_goes_back(machine: Machine) -> None:
    """Late marks are ignored, also for schedules that are gone or never were."""
    first = machine.put()
    second = machine.put(definition=b"daily")
    for mark in (f"s/{first.id}", "gone/1", "s", "/", f"s/0{second.id}"):
        machine.do(AdvanceSchedules({mark: 9_999}))
    machine.do(AdvanceSchedules({f"s/{second.id}": 300}))
    machine.do(AdvanceSchedules({f"s/{second.id}": 200}))
    assert machine.schedules["s"].done_ms == 300


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"topic": "nowhere"}, Status.NOT_FOUND),
        ({"name": "no/slash"}, Status.INVALID),
        ({"name": "x" * 81}, Status.INVALID),
        ({"definition": bytes(limits.SCHEDULE_BYTES_MAX + 1)}, Status.INVALID),
        ({"now_ms": -1}, Status.INVALID),
    ],
)
def test_what_cannot_be_a_schedule_is_refused(
    machine: Machine, change: dict[str, Any], status: Status
) -> None:
    """And leaves nothing behind."""
    result = machine.put(**change)
    assert result.status is status
    assert result.detail
    assert not machine.schedules


@pytest.mark.parametrize(
    "command", [PauseSchedule("s"), ResumeSchedule("s", 1), DeleteSchedule("s")]
)
def test_what_is_not_there_is_not_found(machine: Machine, command: Command) -> None:
    """The answer names it."""
    result = machine.do(command)
    assert result.status is Status.NOT_FOUND
    assert "'s'" in result.detail


def test_schedules_are_bounded_in_number_and_in_bytes(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deleting makes room; replacing one counts only what it grows by."""
    monkeypatch.setattr(limits, "SCHEDULES_MAX", 2)
    monkeypatch.setattr(limits, "SCHEDULE_BYTES_TOTAL_MAX", 20)
    machine.put("a", definition=bytes(10))
    machine.put("b", definition=bytes(9))
    assert machine.put("c", definition=b"").status is Status.LIMIT
    assert machine.put("b", definition=bytes(11)).status is Status.LIMIT
    assert machine.put("b", definition=bytes(10)).ok
    machine.do(DeleteSchedule("a"))
    assert machine.put("c", definition=bytes(10)).ok


def test_the_largest_command_fits() -> None:
    """A full definition, and a full set of marks of the longest names."""
    name = "x" * limits.SCHEDULE_NAME_CHARS_MAX
    largest = limits.INTEGER_MAX
    marks = {
        f"{n:0{limits.SCHEDULE_NAME_CHARS_MAX}}/{largest}": largest
        for n in range(limits.SCHEDULE_MARKS_MAX)
    }
    put = PutSchedule(name, "t" * 249, bytes(limits.SCHEDULE_BYTES_MAX), paused=True, now_ms=0)
    for command in (put, AdvanceSchedules(marks)):
        blob = encode(Request("c" * 128, largest, largest, command))
        assert len(blob) <= limits.COMMAND_BYTES_MAX


def test_the_longest_event_id_fits() -> None:
    """An event's id is made of name, generation and time: at most 128 bytes."""
    longest = f"{'x' * limits.SCHEDULE_NAME_CHARS_MAX}/{limits.INTEGER_MAX}/{253_402_300_799_999}"
    assert len(longest) <= 128


def test_an_image_from_before_schedules_is_read() -> None:
    """Version 1 ended with the clients; version 2 with the schedules."""
    state = ClusterState()
    _, *before = state.to_plain()
    state.restore([1, *before[:-3]])
    assert not state.view.schedules
