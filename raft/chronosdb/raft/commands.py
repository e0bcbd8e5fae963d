"""The commands of the metadata state machine. Their bytes are in `encoding.py`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from chronosdb.raft.settings import Settings


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
class SetReplication:
    """Changes how many copies a topic wants; that there are so many is the controller's work."""

    topic: str
    replication: int


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
class PutAssignment:
    """Who of an ordered group reads which partition from now on.

    `conflict` if the group's last assignment has another `generation`; 0 if there was none.
    """

    topic: str
    group: str
    generation: int
    #: Sorted, each named once.
    members: tuple[str, ...]
    #: One for each partition of the topic: an index into `members`, -1 for nobody.
    owners: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RegisterNode:
    """A node says where it is. A lower incarnation than the registered one is `conflict`."""

    node: str
    address: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class BeginLife:
    """A node of a cluster registers, in a new life: what it led before, nobody leads.

    It may have missed anything meanwhile, so who leads now is for an election to say.
    """

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

    Its epoch rises when its leader changes, or leads `anew`: was elected again. `unclean` allows a
    leader that was not in sync.
    """

    topic: str
    partition: int
    version: int
    leader: str
    replicas: tuple[str, ...]
    isr: tuple[str, ...]
    unclean: bool = False
    anew: bool = False


@dataclass(frozen=True, slots=True)
class AlterPartitions:
    """Changes all of these partitions, or none: `conflict` if any has another version."""

    changes: tuple[PartitionChange, ...]


@dataclass(frozen=True, slots=True)
class Move:
    """Who shall hold a partition, the preferred leader first; nobody: it stays where it is."""

    topic: str
    partition: int
    target: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PlanMoves:
    """Notes where partitions shall go, all of these or none. The controller brings them there."""

    moves: tuple[Move, ...]


@dataclass(frozen=True, slots=True)
class PutClusterSettings:
    """Replaces the settings of the whole cluster."""

    settings: Settings


@dataclass(frozen=True, slots=True)
class BumpEpochs:
    """Sent by a node alone when it starts: all it leads, or nobody does, gets a new epoch.

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
NodeCommand: TypeAlias = (
    RegisterNode | BeginLife | AdmitNode | EnrollNode | SetNodeState | RemoveNode
)
NODE_COMMANDS = (RegisterNode, BeginLife, AdmitNode, EnrollNode, SetNodeState, RemoveNode)
GroupCommand: TypeAlias = PutGroup | DeleteGroup | PutAssignment
GROUP_COMMANDS = (PutGroup, DeleteGroup, PutAssignment)
Command: TypeAlias = (
    CreateTopic
    | DeleteTopic
    | SetReplication
    | GroupCommand
    | NodeCommand
    | ChangeVoters
    | AlterPartitions
    | PlanMoves
    | PutClusterSettings
    | BumpEpochs
    | ScheduleCommand
    | Noop
)


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
