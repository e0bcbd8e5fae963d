"""One good message of every kind, and a batch: where fuzzing begins."""

from __future__ import annotations

import struct

from chronosdb.wire import Row, encode_batch
from chronosdb.wire import messages as m

ROWS = (
    Row(b"pay-42", 1_900_000_000_000, b"u7", b"\x81\xa1k\xa1v", b"payload"),
    Row(b"b", -(2**63), b"", b"", b"", 1),
    Row(b"c" * 128, 5, b"k", b"", b"xyz", 0, 2**41),
)
BATCH = encode_batch(ROWS)
_BATCH = memoryview(BATCH)
_RUNS = memoryview(struct.pack("<4q", 0, 3, 5, 6))
_I64S = memoryview(struct.pack("<3q", 1, 2, 3))
_U16S = memoryview(struct.pack("<3H", 1, 1, 2))
_EMPTY = memoryview(b"")

TIMETABLE = m.Timetable("30 2 * * MON", None, "Europe/Paris", "skip", "first", None, None, 0)
INTERVAL = m.Timetable(None, 60_000, "UTC", "shift", "both", 0, 2**40, 500)
SPEC = m.ScheduleSpec("orders", b"payload", b"key", b"\x81\xa1k\x01", TIMETABLE, "latest")
SCHEDULE = m.Schedule("nightly", SPEC, False, 7, 1_900_000_000_000, None)
TOPIC = m.TopicInfo("orders", 2, {"max_attempts": 5}, ["", "n2:9000"], 1_900_000_000_000)
GROUP = m.GroupInfo(
    *("orders", "billing", "ordered", 1_900_000_000_000, 3),
    [m.GroupPartition(0, 5, 9, 4, 12, 1, 0, 0)],
    [m.GroupMember(1, "me", [0, 1], 256, 4)],
)
STATS = m.NodeStats(
    *("node", "cluster", "0.1.0", 0, 9, 1, 0, 4096, 2**40, [1, 3, 10]),
    [m.TopicStats("orders", 2, 9, 8, 8, 7, 1, 0, 1, 0, 4096, [8, 0, 0, 0], [1, 0])],
)
COPY = m.CopyState("n1", True, False, 0)
NODE = m.NodeState("n1", "n1:9000", "n1:9001", "r1", "alive", True, True, 5, -3, "0.1.0", 2, 3)
CLUSTER = m.ClusterState("c1", "n1", "n2", [NODE], 6, 0, 1, 2)
PLACE = m.ReplayPlace(9, 3, 0)

FROM_CLIENT: tuple[m.ClientMessage, ...] = (
    m.Hello(1, "me", "secret"),
    m.Ping(1),
    m.Pong(1, 5),
    m.Closing("bye"),
    m.CreateTopic(1, "orders", 2, {"max_attempts": 5}),
    m.DescribeTopic(1, "orders"),
    m.ListTopics(1),
    m.DeleteTopic(1, "orders"),
    m.Publish(1, "orders", 0, _BATCH),
    m.Get(1, "orders", 0, b"pay-42"),
    m.ListPending(1, "orders", 0, 0, 2**62, b"u7", (5, 6), 100),
    m.CountPending(1, "orders", 0, 0, 2**62, None),
    m.Change(1, "orders", 0, b"pay-42", 2**41),
    m.CancelWhere(1, "orders", 0, 0, 2**62, None, None, 100, True),
    m.Subscribe(1, 2, "orders", "billing", "ordered", "earliest", 256),
    m.Subscribe(1, 2, "orders", "billing", "shared", 1_900_000_000_000, 256),
    m.Unsubscribe(1, 2),
    m.Subscribe(1, 2, "orders", "billing", "ordered", "latest", 9, "5f" * 16),
    m.Credit(2, 100),
    m.Recall(1, 2, 30),
    m.Ack(1, 2, 0, _RUNS),
    m.Nack(1, 2, 0, 5, 1, 100, "no"),
    m.Extend(1, 2, 0, 5, 1, 30_000),
    m.PutSchedule(1, "nightly", SPEC, False),
    m.GetSchedule(1, "nightly"),
    m.ListSchedules(1, ""),
    m.PauseSchedule(1, "nightly", True),
    m.DeleteSchedule(1, "nightly"),
    m.PreviewSchedule(1, "nightly", None, 5),
    m.PreviewSchedule(1, INTERVAL, 0, 5),
    m.ListGroups(1, "orders"),
    m.DescribeGroup(1, "orders", "billing"),
    m.ResetGroup(1, "orders", "billing", "latest", True, False),
    m.DeleteGroup(1, "orders", "billing"),
    m.ListDeadLetters(1, "orders.dlq", 0, 0, 100),
    m.SettleDeadLetters(1, "orders.dlq", 0, _RUNS, "redriven"),
    m.Replay(1, 3, "orders", 0, "scheduled", 0, None, b"u7", False, PLACE, 2**20),
    m.ReplayCredit(3, 2**20),
    m.ReplayEnd(3),
    m.Stats(1),
    m.DescribeCluster(1, "orders"),
    m.AddNode(1, "n4", "n4:9001", "r1"),
    m.DrainNode(1, "n1", False),
    m.RemoveNode(1, "n1", True),
    m.TransferLeader(1, "orders", 0, "n2", False),
    m.Rebalance(1, False),
    m.SetReplication(1, "orders", 3),
)
FROM_SERVER: tuple[m.ServerMessage, ...] = (
    m.Welcome(1, "c" * 32, "node", 5, 2**24),
    m.Ping(1),
    m.Pong(1, 5),
    m.Closing("bye"),
    m.Done(1),
    m.Failed(1, "overloaded", "no disk space", True, {"free": 5, "leader": "n2:9000"}),
    m.TopicReply(1, TOPIC, True),
    m.TopicReply(1, TOPIC, False, ["n1:9000", "n2:9000"], 7),
    m.LeadersChanged("orders"),
    m.Recalled(1, 30),
    m.TopicsReply(1, [TOPIC, TOPIC]),
    m.Published(1, 5, bytes(24), b"\0\1\0"),
    m.GetReply(1, "pending", 5, 6, _BATCH),
    m.PendingPage(1, _I64S, _I64S, _BATCH, (5, 6)),
    m.Counted(1, 5),
    m.Changed(1, "cancelled"),
    m.CancelledWhere(1, 5, None),
    m.ScheduleReply(1, SCHEDULE, True),
    m.SchedulesPage(1, [SCHEDULE], False),
    m.Preview(1, [5, 6, 7]),
    m.Deliver(2, 0, 5, _I64S, _I64S, _I64S, _U16S, _BATCH),
    m.GroupsReply(1, [m.GroupSummary("billing", "ordered", 5, 1, 4)]),
    m.GroupReply(1, GROUP),
    m.GroupMoved(1, [m.GroupMove(0, 5, 0, 9)]),
    m.DeadLettersPage(1, _I64S, _I64S, _I64S, _BATCH, 9),
    m.ReplayOpened(1, PLACE),
    m.Replayed(3, _I64S, _I64S, _EMPTY, _EMPTY, _BATCH),
    m.ReplayEnd(3, "not_found", "no such topic", False, {}),
    m.StatsReply(1, STATS),
    m.ClusterReply(1, CLUSTER, [m.PartitionState(0, "n1", 7, [COPY])]),
    m.Moves(1, 3),
)
