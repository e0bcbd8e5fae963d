"""The bytes of commands.

A request is msgpack `[schema, client_id, seq, ts_ms, op, args]`. Decoding is strict, because a
blob in the log is judged by every replica and must be judged alike: exact types, exact arity,
known op. What the values *mean* (names, bounds, what exists) is `state.py`'s to judge.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, TypeAlias

import msgpack

from chronosdb.raft.commands import (
    AdmitNode,
    AdvanceSchedules,
    AlterPartitions,
    BeginLife,
    BumpEpochs,
    ChangeVoters,
    Command,
    CreateTopic,
    DeleteGroup,
    DeleteSchedule,
    DeleteTopic,
    EnrollNode,
    Move,
    Noop,
    PartitionChange,
    PauseSchedule,
    PlanMoves,
    PutAssignment,
    PutClusterSettings,
    PutGroup,
    PutSchedule,
    RegisterNode,
    RemoveNode,
    Request,
    ResumeSchedule,
    SetNodeState,
    SetReplication,
)
from chronosdb.raft.errors import UnsupportedCommandError
from chronosdb.raft.limits import CLIENT_ID_CHARS_MAX, COMMAND_BYTES_MAX, INTEGER_MAX

SCHEMA = 1


def _names(plain: list[Any]) -> tuple[str, ...]:
    if any(type(name) is not str for name in plain):
        raise UnsupportedCommandError("names are not text")
    return tuple(plain)


def _numbers(plain: list[Any]) -> tuple[int, ...]:
    if any(type(number) is not int for number in plain):
        raise UnsupportedCommandError("numbers are not integers")
    return tuple(plain)


def _partition_changes(plain: list[Any]) -> tuple[PartitionChange, ...]:
    return tuple(map(_partition_change, plain))


def _partition_change(plain: Any) -> PartitionChange:
    if type(plain) is list and len(plain) == 7:
        plain = [*plain, False]  # Of a time without elections: nobody led anew.
    match plain:
        case [str(topic), partition, version, str(leader), [*replicas], [*isr], bool(u), bool(a)]:
            if type(partition) is type(version) is int:
                nodes, in_sync = _names(replicas), _names(isr)
                return PartitionChange(topic, partition, version, leader, nodes, in_sync, u, a)
    raise UnsupportedCommandError("not a change of a partition")


def _moves(plain: list[Any]) -> tuple[Move, ...]:
    return tuple(map(_move, plain))


def _move(plain: Any) -> Move:
    match plain:
        case [str(topic), partition, [*target]] if type(partition) is int:
            return Move(topic, partition, _names(target))
    raise UnsupportedCommandError("not a move of a partition")


#: The exact type of an argument, or what reads a list of them.
_Kind: TypeAlias = type | Callable[[Any], tuple[Any, ...]]
#: op on the wire -> the command and its fields, in order.
_OPS: dict[str, tuple[type[Command], tuple[_Kind, ...]]] = {
    "create_topic": (CreateTopic, (str, int, dict)),
    "delete_topic": (DeleteTopic, (str,)),
    "set_replication": (SetReplication, (str, int)),
    "put_group": (PutGroup, (str, str, str, dict)),
    "delete_group": (DeleteGroup, (str, str)),
    "put_assignment": (PutAssignment, (str, str, int, _names, _numbers)),
    "register_node": (RegisterNode, (str, str, int)),
    "begin_life": (BeginLife, (str, str, int)),
    "bump_epochs": (BumpEpochs, (str,)),
    "admit_node": (AdmitNode, (str, str, str)),
    "enroll_node": (EnrollNode, (str, str, str)),
    "set_node_state": (SetNodeState, (str, int, str)),
    "remove_node": (RemoveNode, (str,)),
    "change_voters": (ChangeVoters, (_names, int)),
    "alter_partitions": (AlterPartitions, (_partition_changes,)),
    "plan_moves": (PlanMoves, (_moves,)),
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
    command, kinds = _OPS[op]
    if len(args) != len(kinds):
        raise UnsupportedCommandError(f"wrong arguments for {op}")
    return command(*(_argument(op, kind, arg) for kind, arg in zip(kinds, args, strict=True)))


def _argument(op: str, kind: _Kind, plain: Any) -> Any:
    exact = kind if isinstance(kind, type) else list
    # `type(...) is`, not isinstance: msgpack's true is a Python int, and must not pass for 1.
    if type(plain) is not exact:
        raise UnsupportedCommandError(f"wrong arguments for {op}")
    if exact is dict and not _is_settings(plain):
        raise UnsupportedCommandError(f"settings of {op} are not a map of names to integers")
    return kind(plain)


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


def _is_settings(settings: Any) -> bool:
    return all(type(key) is str and type(value) is int for key, value in settings.items())


def _plain(value: Any) -> Any:
    """A field as msgpack carries it: maps may be read-only, changes and moves of partitions are lists."""
    match value:
        case Mapping():
            return dict(value)
        case tuple():
            return [_plain(item) for item in value]
        case PartitionChange() | Move():
            return [_plain(getattr(value, f.name)) for f in fields(value)]
        case _:
            return value
