"""ChronosDB's metadata: a replicated, deterministic state machine of topics, groups and nodes.

`Replica` is the way in; `Request` with a command goes in, a `Result` comes out, `ClusterView` is
what readers see. Holds no event loop, socket, thread, clock or randomness: see raft/README.md.
"""

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
from chronosdb.raft.encoding import decode, encode
from chronosdb.raft.errors import (
    BadMessageError,
    MetadataFailedError,
    NotLeadingError,
    OutcomeUnknownError,
    RaftError,
    RefusedError,
    StorageDamagedError,
)
from chronosdb.raft.library import Random
from chronosdb.raft.options import Options
from chronosdb.raft.outcomes import OnResult, Outcome
from chronosdb.raft.replica import Replica
from chronosdb.raft.result import Result, Status
from chronosdb.raft.settings import CLUSTER_SETTINGS, GROUP_SETTINGS, TOPIC_SETTINGS, Settings
from chronosdb.raft.storage import File, Storage
from chronosdb.raft.transport import Message, NoPeers, Transport
from chronosdb.raft.view import (
    NOBODY,
    ClusterView,
    GroupInfo,
    NodeInfo,
    NodeState,
    ScheduleInfo,
    TopicInfo,
)

__all__ = [
    "CLUSTER_SETTINGS",
    "GROUP_SETTINGS",
    "NOBODY",
    "TOPIC_SETTINGS",
    "AdmitNode",
    "AdvanceSchedules",
    "AlterPartitions",
    "BadMessageError",
    "BeginLife",
    "BumpEpochs",
    "ChangeVoters",
    "ClusterView",
    "Command",
    "CreateTopic",
    "DeleteGroup",
    "DeleteSchedule",
    "DeleteTopic",
    "EnrollNode",
    "File",
    "GroupInfo",
    "Message",
    "MetadataFailedError",
    "Move",
    "NoPeers",
    "NodeInfo",
    "NodeState",
    "Noop",
    "NotLeadingError",
    "OnResult",
    "Options",
    "Outcome",
    "OutcomeUnknownError",
    "PartitionChange",
    "PauseSchedule",
    "PlanMoves",
    "PutAssignment",
    "PutClusterSettings",
    "PutGroup",
    "PutSchedule",
    "RaftError",
    "Random",
    "RefusedError",
    "RegisterNode",
    "RemoveNode",
    "Replica",
    "Request",
    "Result",
    "ResumeSchedule",
    "ScheduleInfo",
    "SetNodeState",
    "SetReplication",
    "Settings",
    "Status",
    "Storage",
    "StorageDamagedError",
    "TopicInfo",
    "Transport",
    "decode",
    "encode",
]
