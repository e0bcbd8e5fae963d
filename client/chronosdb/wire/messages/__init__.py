"""Every message of the protocol: one frozen struct each, its tag the first element on the wire.

A message is a msgpack array `[tag, field, …]` in the order of the fields here. Decoding is typed: a
hostile frame can make the decoder build nothing but these. Columns travel as `bin`, little-endian.
Requests carry `request`, a number the client chooses; exactly one reply carries it back.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

from chronosdb.wire.messages.base import (
    Answer,
    Count,
    Credits,
    Key,
    Message,
    Millis,
    Name,
    PartitionId,
    Reason,
    RequestId,
    SubscriptionId,
)
from chronosdb.wire.messages.cluster import (
    AddNode,
    ClusterReply,
    ClusterState,
    CopyState,
    DescribeCluster,
    DrainNode,
    Moves,
    NodeState,
    PartitionState,
    Rebalance,
    RemoveNode,
    SetReplication,
    TransferLeader,
)
from chronosdb.wire.messages.connection import Closing, Done, Failed, Hello, Ping, Pong, Welcome
from chronosdb.wire.messages.consuming import (
    Ack,
    Credit,
    Deliver,
    Extend,
    Nack,
    Recall,
    Recalled,
    Subscribe,
    Unsubscribe,
)
from chronosdb.wire.messages.dead_letters import (
    REDRIVE_GROUP,
    DeadLettersPage,
    ListDeadLetters,
    SettleDeadLetters,
)
from chronosdb.wire.messages.events import Get, GetReply, Publish, Published
from chronosdb.wire.messages.groups import (
    DeleteGroup,
    DescribeGroup,
    GroupInfo,
    GroupMember,
    GroupMove,
    GroupMoved,
    GroupPartition,
    GroupReply,
    GroupsReply,
    GroupSummary,
    ListGroups,
    ResetGroup,
)
from chronosdb.wire.messages.pending import (
    CancelledWhere,
    CancelWhere,
    Change,
    Changed,
    Counted,
    CountPending,
    ListPending,
    PendingPage,
)
from chronosdb.wire.messages.replay import (
    Replay,
    ReplayCredit,
    Replayed,
    ReplayEnd,
    ReplayOpened,
    ReplayPlace,
)
from chronosdb.wire.messages.schedules import (
    DeleteSchedule,
    GetSchedule,
    ListSchedules,
    PauseSchedule,
    Preview,
    PreviewSchedule,
    PutSchedule,
    Schedule,
    ScheduleReply,
    SchedulesPage,
    ScheduleSpec,
    Timetable,
)
from chronosdb.wire.messages.stats import NodeStats, Stats, StatsReply, TopicStats
from chronosdb.wire.messages.topics import (
    CreateTopic,
    DeleteTopic,
    DescribeTopic,
    LeadersChanged,
    ListTopics,
    TopicInfo,
    TopicReply,
    TopicsReply,
)

ClientMessage: TypeAlias = (
    Hello
    | Ping
    | Pong
    | Closing
    | CreateTopic
    | DescribeTopic
    | ListTopics
    | Publish
    | Get
    | ListPending
    | CountPending
    | Change
    | CancelWhere
    | Subscribe
    | Unsubscribe
    | Credit
    | Recall
    | Ack
    | PutSchedule
    | GetSchedule
    | ListSchedules
    | PauseSchedule
    | DeleteSchedule
    | PreviewSchedule
    | Nack
    | Extend
    | ListGroups
    | DescribeGroup
    | ResetGroup
    | DeleteGroup
    | DeleteTopic
    | ListDeadLetters
    | SettleDeadLetters
    | Replay
    | ReplayCredit
    | ReplayEnd
    | Stats
    | DescribeCluster
    | AddNode
    | DrainNode
    | RemoveNode
    | TransferLeader
    | Rebalance
    | SetReplication
)
ServerMessage: TypeAlias = (
    Welcome
    | Ping
    | Pong
    | Closing
    | Done
    | Failed
    | TopicReply
    | TopicsReply
    | LeadersChanged
    | Published
    | GetReply
    | PendingPage
    | Counted
    | Changed
    | CancelledWhere
    | ScheduleReply
    | SchedulesPage
    | Preview
    | Deliver
    | Recalled
    | GroupsReply
    | GroupReply
    | GroupMoved
    | DeadLettersPage
    | ReplayOpened
    | Replayed
    | ReplayEnd
    | StatsReply
    | ClusterReply
    | Moves
)

#: Tags of the messages that may be as large as a frame may be: those with columns, and the lists of topics,
#: groups and members, which only a client decodes.
LARGE_TAGS: Final = frozenset({13, 14, 20, 21, 23, 25, 33, 34, 42, 46, 48, 51, 56, 57, 64, 71, 81})

encode = msgspec.msgpack.Encoder().encode
decode_from_client = msgspec.msgpack.Decoder(ClientMessage).decode
decode_from_server = msgspec.msgpack.Decoder(ServerMessage).decode

__all__ = [
    "LARGE_TAGS",
    "REDRIVE_GROUP",
    "Ack",
    "AddNode",
    "Answer",
    "CancelWhere",
    "CancelledWhere",
    "Change",
    "Changed",
    "ClientMessage",
    "Closing",
    "ClusterReply",
    "ClusterState",
    "CopyState",
    "Count",
    "CountPending",
    "Counted",
    "CreateTopic",
    "Credit",
    "Credits",
    "DeadLettersPage",
    "DeleteGroup",
    "DeleteSchedule",
    "DeleteTopic",
    "Deliver",
    "DescribeCluster",
    "DescribeGroup",
    "DescribeTopic",
    "Done",
    "DrainNode",
    "Extend",
    "Failed",
    "Get",
    "GetReply",
    "GetSchedule",
    "GroupInfo",
    "GroupMember",
    "GroupMove",
    "GroupMoved",
    "GroupPartition",
    "GroupReply",
    "GroupSummary",
    "GroupsReply",
    "Hello",
    "Key",
    "LeadersChanged",
    "ListDeadLetters",
    "ListGroups",
    "ListPending",
    "ListSchedules",
    "ListTopics",
    "Message",
    "Millis",
    "Moves",
    "Nack",
    "Name",
    "NodeState",
    "NodeStats",
    "PartitionId",
    "PartitionState",
    "PauseSchedule",
    "PendingPage",
    "Ping",
    "Pong",
    "Preview",
    "PreviewSchedule",
    "Publish",
    "Published",
    "PutSchedule",
    "Reason",
    "Rebalance",
    "Recall",
    "Recalled",
    "RemoveNode",
    "Replay",
    "ReplayCredit",
    "ReplayEnd",
    "ReplayOpened",
    "ReplayPlace",
    "Replayed",
    "RequestId",
    "ResetGroup",
    "Schedule",
    "ScheduleReply",
    "ScheduleSpec",
    "SchedulesPage",
    "ServerMessage",
    "SetReplication",
    "SettleDeadLetters",
    "Stats",
    "StatsReply",
    "Subscribe",
    "SubscriptionId",
    "Timetable",
    "TopicInfo",
    "TopicReply",
    "TopicStats",
    "TopicsReply",
    "TransferLeader",
    "Unsubscribe",
    "Welcome",
    "decode_from_client",
    "decode_from_server",
    "encode",
]
