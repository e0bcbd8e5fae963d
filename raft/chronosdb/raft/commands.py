"""The commands of the metadata state machine and their bytes.

A request is msgpack `[schema, client_id, seq, ts_ms, op, args]`. Decoding is strict, because a
blob in the log is judged by every replica and must be judged alike: exact types, exact arity,
known op. What the values *mean* (names, bounds, what exists) is `state.py`'s to judge.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias

import msgpack

from chronosdb.raft.errors import UnsupportedCommandError
from chronosdb.raft.limits import CLIENT_ID_CHARS_MAX, COMMAND_BYTES_MAX, INTEGER_MAX
from chronosdb.raft.settings import Settings

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class CreateTopic:
    """Idempotent: an equal topic is `ok` with `created=False`, a different one is `conflict`."""

    name: str
    partitions: int
    settings: Settings = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DeleteTopic:
    """Removes the topic and its groups; its id is never used again."""

    name: str


@dataclass(frozen=True, slots=True)
class PutGroup:
    """Creates a group, or replaces its settings; its mode ('ordered' or 'shared') is for life."""

    topic: str
    group: str
    mode: str
    settings: Settings = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DeleteGroup:
    """Removes one group of one topic."""

    topic: str
    group: str


@dataclass(frozen=True, slots=True)
class RegisterNode:
    """A node says where it is. A lower incarnation than the registered one is `conflict`."""

    node: str
    address: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class AdmitNode:
    """An operator makes a node known: where its peers reach it, and what it shares a fate with."""

    node: str
    peer_address: str
    rack: str


@dataclass(frozen=True, slots=True)
class EnrollNode:
    """A node says where its peers reach it and which directory it has: `birth` is for life.

    Another birth under the same name is `conflict`: that node lost its disk, and with it its votes.
    """

    node: str
    peer_address: str
    birth: str


@dataclass(frozen=True, slots=True)
class SetNodeState:
    """'alive', 'fenced' or 'draining'; `conflict` if `incarnation` is not the registered one."""

    node: str
    incarnation: int
    state: str


@dataclass(frozen=True, slots=True)
class RemoveNode:
    """The name is never accepted again, known or not. `conflict` while it votes, or has replicas."""

    node: str


@dataclass(frozen=True, slots=True)
class ChangeVoters:
    """The voters from now on, sorted; at most one more or less than those of log entry `base`.

    It takes effect when it is appended, not when it is committed (`voters.py`).
    """

    voters: tuple[str, ...]
    base: int


@dataclass(frozen=True, slots=True)
class PartitionChange:
    """How one partition should be from now on, if its version still is `version`.

    Its epoch rises when its leader changes. `unclean` allows a leader that was not in sync.
    """

    topic: str
    partition: int
    version: int
    leader: str
    replicas: tuple[str, ...]
    isr: tuple[str, ...]
    unclean: bool = False


@dataclass(frozen=True, slots=True)
class AlterPartitions:
    """Changes all of these partitions, or none: `conflict` if any has another version."""

    changes: tuple[PartitionChange, ...]


@dataclass(frozen=True, slots=True)
class PutClusterSettings:
    """Replaces the settings of the whole cluster."""

    settings: Settings


@dataclass(frozen=True, slots=True)
class BumpEpochs:
    """Sent by a node when it starts: every partition it leads, or nobody does, gets a new epoch.

    Of those that nobody leads, it takes what it has in sync, and what nobody has.
    """

    node: str


@dataclass(frozen=True, slots=True)
class PutSchedule:
    """Creates a schedule, or replaces one that differs. What it says is opaque: `definition`.

    It begins after `now_ms`, the wall clock of whoever asks.
    """

    name: str
    topic: str
    definition: bytes
    paused: bool
    now_ms: int


@dataclass(frozen=True, slots=True)
class PauseSchedule:
    """Idempotent."""

    name: str


@dataclass(frozen=True, slots=True)
class ResumeSchedule:
    """Idempotent: one that is not paused goes on as it is, else it begins again after `now_ms`."""

    name: str
    now_ms: int


@dataclass(frozen=True, slots=True)
class DeleteSchedule:
    """Removes it; what is put under the name later is another generation."""

    name: str


@dataclass(frozen=True, slots=True)
class AdvanceSchedules:
    """Notes how far schedules have got: "name/generation" → the newest occurrence that is done."""

    marks: Settings


@dataclass(frozen=True, slots=True)
class Noop:
    """Changes nothing. Once its result arrives, all that was committed before is in the view."""


ScheduleCommand: TypeAlias = (
    PutSchedule | PauseSchedule | ResumeSchedule | DeleteSchedule | AdvanceSchedules
)
NodeCommand: TypeAlias = RegisterNode | AdmitNode | EnrollNode | SetNodeState | RemoveNode
NODE_COMMANDS = (RegisterNode, AdmitNode, EnrollNode, SetNodeState, RemoveNode)
Command: TypeAlias = (
    CreateTopic
    | DeleteTopic
    | PutGroup
    | DeleteGroup
    | NodeCommand
    | ChangeVoters
    | AlterPartitions
    | PutClusterSettings
    | BumpEpochs
    | ScheduleCommand
    | Noop
)

#: op on the wire -> the command and the exact types of its fields, in order.
_OPS: dict[str, tuple[type[Command], tuple[type, ...]]] = {
    "create_topic": (CreateTopic, (str, int, dict)),
    "delete_topic": (DeleteTopic, (str,)),
    "put_group": (PutGroup, (str, str, str, dict)),
    "delete_group": (DeleteGroup, (str, str)),
    "register_node": (RegisterNode, (str, str, int)),
    "bump_epochs": (BumpEpochs, (str,)),
    "admit_node": (AdmitNode, (str, str, str)),
    "enroll_node": (EnrollNode, (str, str, str)),
    "set_node_state": (SetNodeState, (str, int, str)),
    "remove_node": (RemoveNode, (str,)),
    "change_voters": (ChangeVoters, (list, int)),
    "alter_partitions": (AlterPartitions, (list,)),
    "put_cluster_settings": (PutClusterSettings, (dict,)),
    "put_schedule": (PutSchedule, (str, str, bytes, bool, int)),
    "pause_schedule": (PauseSchedule, (str,)),
    "resume_schedule": (ResumeSchedule, (str, int)),
    "delete_schedule": (DeleteSchedule, (str,)),
    "advance_schedules": (AdvanceSchedules, (dict,)),
    "noop": (Noop, ()),
}
_OP_OF = {command: op for op, (command, _) in _OPS.items()}
#: No entry of the log without these bytes changes who votes.
CHANGE_VOTERS_MARK = _OP_OF[ChangeVoters].encode()


@dataclass(frozen=True, slots=True)
class Request:
    """A command with its identity.

    `(client_id, seq)` is made before the first send and kept over retries: it is what makes a
    retry safe. `seq` starts at 1. `ts_ms` is the submitter's wall clock; replicas never read one.
    """

    client_id: str
    seq: int
    ts_ms: int
    command: Command


def encode(request: Request) -> bytes:
    """The request's bytes. A request that could not be decoded again is a bug of the caller."""
    assert _envelope_is_sound(request.client_id, request.seq, request.ts_ms), request
    command = request.command
    args = [_plain(getattr(command, f.name)) for f in fields(command)]
    op = _OP_OF[type(command)]
    blob: bytes = msgpack.packb(
        [SCHEMA, request.client_id, request.seq, request.ts_ms, op, args],
    )
    return blob


def decode(blob: bytes) -> Request:
    """Inverse of `encode`; raises UnsupportedCommandError for any other bytes, and nothing else."""
    if len(blob) > COMMAND_BYTES_MAX:
        raise UnsupportedCommandError(f"a command of {len(blob)} bytes, over {COMMAND_BYTES_MAX}")
    match _unpacked(blob):
        case [int(schema), str(client_id), int(seq), int(ts_ms), str(op), [*args]]:
            if schema != SCHEMA:
                raise UnsupportedCommandError(
                    f"command schema {schema}; this version reads {SCHEMA}"
                )
            if not _envelope_is_sound(client_id, seq, ts_ms):
                raise UnsupportedCommandError("client id, sequence or time out of bounds")
            return Request(client_id, seq, ts_ms, _command(op, args))
        case _:
            raise UnsupportedCommandError("not [schema, client_id, seq, ts_ms, op, args]")


def _command(op: str, args: list[Any]) -> Command:
    if op not in _OPS:
        raise UnsupportedCommandError("unknown op")
    command, types = _OPS[op]
    # `type(...) is`, not isinstance: msgpack's true is a Python int, and must not pass for 1.
    if len(args) != len(types) or any(type(a) is not t for a, t in zip(args, types, strict=True)):
        raise UnsupportedCommandError(f"wrong arguments for {op}")
    if any(type(a) is dict and not _is_settings(a) for a in args):
        raise UnsupportedCommandError(f"settings of {op} are not a map of names to integers")
    if command is ChangeVoters:
        return ChangeVoters(_names(args[0]), args[1])
    if command is AlterPartitions:
        return AlterPartitions(tuple(map(_partition_change, args[0])))
    return command(*args)


def _names(plain: list[Any]) -> tuple[str, ...]:
    if any(type(name) is not str for name in plain):
        raise UnsupportedCommandError("node names are not text")
    return tuple(plain)


def _partition_change(plain: Any) -> PartitionChange:
    match plain:
        case [str(topic), partition, version, str(leader), [*replicas], [*isr], bool(unclean)]:
            if type(partition) is type(version) is int:
                nodes, in_sync = _names(replicas), _names(isr)
                return PartitionChange(topic, partition, version, leader, nodes, in_sync, unclean)
    raise UnsupportedCommandError("not a change of a partition")


def _unpacked(blob: bytes) -> object:
    try:
        plain: object = msgpack.unpackb(blob)
    except (ValueError, OverflowError) as error:  # msgpack's own errors all derive from ValueError
        raise UnsupportedCommandError("not msgpack") from error
    return plain


def _envelope_is_sound(client_id: str, seq: int, ts_ms: int) -> bool:
    return (
        type(seq) is int
        and type(ts_ms) is int
        and 1 <= len(client_id) <= CLIENT_ID_CHARS_MAX
        and 1 <= seq <= INTEGER_MAX
        and 0 <= ts_ms <= INTEGER_MAX
    )


def _is_settings(settings: dict[Any, Any]) -> bool:
    return all(type(key) is str and type(value) is int for key, value in settings.items())


def _plain(value: Any) -> Any:
    """A field as msgpack carries it: maps may be read-only, changes of partitions are lists."""
    match value:
        case Mapping():
            return dict(value)
        case tuple():
            return [_plain(item) for item in value]
        case PartitionChange():
            return [_plain(getattr(value, f.name)) for f in fields(value)]
        case _:
            return value
