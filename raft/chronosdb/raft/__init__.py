"""ChronosDB's metadata: a replicated, deterministic state machine of topics, groups and nodes.

`Replica` is the way in; `Request` with a command goes in, a `Result` comes out, `ClusterView` is
what readers see. Holds no event loop, socket, thread, clock or randomness: see raft/README.md.
"""

from chronosdb.raft.commands import (
    AdvanceSchedules,
    BumpEpochs,
    Command,
    CreateTopic,
    DeleteGroup,
    DeleteSchedule,
    DeleteTopic,
    Noop,
    PauseSchedule,
    PutGroup,
    PutSchedule,
    RegisterNode,
    Request,
    ResumeSchedule,
)
from chronosdb.raft.core import Random
from chronosdb.raft.errors import (
    BadMessageError,
    MetadataFailedError,
    OutcomeUnknownError,
    RaftError,
    RefusedError,
    StorageDamagedError,
)
from chronosdb.raft.options import Options
from chronosdb.raft.outcomes import OnResult, Outcome
from chronosdb.raft.replica import Replica
from chronosdb.raft.result import Result, Status
from chronosdb.raft.settings import GROUP_SETTINGS, TOPIC_SETTINGS, Settings
from chronosdb.raft.storage import File, Storage
from chronosdb.raft.transport import Message, NoPeers, Transport
from chronosdb.raft.view import NOBODY, ClusterView, GroupInfo, NodeInfo, ScheduleInfo, TopicInfo

__all__ = [
    "GROUP_SETTINGS",
    "NOBODY",
    "TOPIC_SETTINGS",
    "AdvanceSchedules",
    "BadMessageError",
    "BumpEpochs",
    "ClusterView",
    "Command",
    "CreateTopic",
    "DeleteGroup",
    "DeleteSchedule",
    "DeleteTopic",
    "File",
    "GroupInfo",
    "Message",
    "MetadataFailedError",
    "NoPeers",
    "NodeInfo",
    "Noop",
    "OnResult",
    "Options",
    "Outcome",
    "OutcomeUnknownError",
    "PauseSchedule",
    "PutGroup",
    "PutSchedule",
    "RaftError",
    "Random",
    "RefusedError",
    "RegisterNode",
    "Replica",
    "Request",
    "Result",
    "ResumeSchedule",
    "ScheduleInfo",
    "Settings",
    "Status",
    "Storage",
    "StorageDamagedError",
    "TopicInfo",
    "Transport",
]
