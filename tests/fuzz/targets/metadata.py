"""The metadata: commands and messages of other nodes, and the files of its directory."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any
from zlib import crc32

import msgpack

from chronosdb.raft import commands as c
from chronosdb.raft import encoding, messages
from chronosdb.raft.ballot import MAGIC as BALLOT
from chronosdb.raft.ballot import Ballot
from chronosdb.raft.codec import dumps, loads
from chronosdb.raft.errors import BadMessageError, StorageDamagedError, UnsupportedCommandError
from chronosdb.raft.journal import Journal
from chronosdb.raft.record import Entry, journal_image
from chronosdb.raft.result import Status
from chronosdb.raft.sealed import seal
from chronosdb.raft.snapshot import MAGIC as SNAPSHOT
from chronosdb.raft.snapshot import Snapshot, decode_snapshot, encode_snapshot
from chronosdb.raft.state import ClusterState
from tests.fuzz.target import Feature, Target, complaint
from tests.fuzz.targets.wire import mend_message
from tests.raft.fake_storage import MemoryStorage

COMMANDS: tuple[c.Command, ...] = (
    c.CreateTopic("orders", 2, {"max_attempts": 5}),
    c.PutGroup("orders", "billing", "ordered", {}),
    c.RegisterNode("n1", "127.0.0.1:9000", 1),
    c.BumpEpochs("n1"),
    c.PutSchedule("nightly", "orders", b"spec", False, 5),
    c.PauseSchedule("nightly"),
    c.ResumeSchedule("nightly", 6),
    c.AdvanceSchedules({"nightly/5": 7}),
    c.DeleteSchedule("nightly"),
    c.PutAssignment("orders", "billing", 0, ("a", "b"), (1, -1)),
    c.BeginLife("n1", "127.0.0.1:9000", 2),
    c.AdmitNode("n2", "127.0.0.1:9002", "rack"),
    c.EnrollNode("n1", "127.0.0.1:9001", "birth"),
    c.SetNodeState("n1", 1, "draining"),
    c.RemoveNode("n1"),
    c.ChangeVoters(("n1", "n2", "n3"), 0),
    c.AlterPartitions((c.PartitionChange("orders", 0, 1, "n1", ("n1",), ("n1",), unclean=True),)),
    c.PlanMoves((c.Move("orders", 1, ("n1", "n2")),)),
    c.SetReplication("orders", 3),
    c.PutClusterSettings({"replication": 3}),
    c.DeleteGroup("orders", "billing"),
    c.DeleteTopic("orders"),
    c.Noop(),
)


def _requests() -> list[bytes]:
    return [encoding.encode(c.Request("client", n, n, one)) for n, one in enumerate(COMMANDS, 1)]


def _command(data: bytes) -> Feature:
    """Refused, or the same request again; and the state machine takes any bytes without a mishap."""
    with _silence():
        result = _state().apply_blob(data, 100)
    assert result.status is not Status.INTERNAL, result.detail
    assert loads(dumps((0, (data,)))) == (0, (data,))
    loads(data)
    try:
        request = encoding.decode(data)
    except UnsupportedCommandError as error:
        assert result.status is Status.UNSUPPORTED
        return complaint(error)
    assert encoding.decode(encoding.encode(request)) == request
    return type(request.command).__name__, result.status


def _state() -> ClusterState:
    """One with a topic, a group, a node and a schedule in it."""
    state = ClusterState()
    for index, blob in enumerate(_requests()[:6], 1):
        state.apply_blob(blob, index)
    return state


@contextmanager
def _silence() -> Iterator[None]:
    """The state machine says much about what it skips."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _raft_message(data: bytes) -> Feature:
    """What a peer sent, unpacked: well formed, or refused."""
    try:
        plain = msgpack.unpackb(data)
    except (ValueError, TypeError):
        return None
    if not isinstance(plain, dict):
        return None
    try:
        messages.check(plain)
    except BadMessageError as error:
        return str(error)[:12], len(plain)
    return str(plain["type"])


def raft_messages() -> Iterator[bytes]:
    entries: list[Any] = [(b"\0x", 5, 1), (b"\1", 6, 2)]
    for kind, fields in (
        ("request_vote", {"term": 1, "last_log_index": 2, "last_log_term": 1}),
        ("response_vote", {"term": 1}),
        (
            "append_entries",
            {"term": 1, "commit_index": 1, "entries": entries, "prevLogIdx": 4, "prevLogTerm": 1},
        ),
        ("append_entries", {"term": 1, "commit_index": 1, "serialized": [b"x", True, False]}),
        ("next_node_idx", {"term": 1, "next_node_idx": 7, "reset": False, "success": True}),
    ):
        yield msgpack.packb({"type": kind, **fields})


def _journal(data: bytes) -> Feature:
    """Refused, or dense entries; and the journal goes on from them, also after a restart."""
    storage = MemoryStorage()
    storage.write_file_atomic("journal", data)
    try:
        journal = Journal.open(storage, "journal")
    except StorageDamagedError as error:
        return complaint(error)
    entries = list(journal.entries)
    first = entries[0].idx if entries else 0
    assert [entry.idx for entry in entries] == [*range(first, first + len(entries))]
    more = Entry(b"one more", journal.last_index + 1, entries[-1].term if entries else 1)
    if more.idx >= 2**63 or more.term >= 2**63:
        return "at the end of all numbers"
    journal.append(more)
    journal.sync()
    journal.close()
    assert Journal.open(storage, "journal").entries == [*entries, more]
    return min(len(entries), 5)


def _sealed(data: bytes) -> Feature:
    """Ballot and snapshot: refused by the one error they name, or read."""
    storage = MemoryStorage()
    storage.write_file_atomic("file", data)
    try:
        if data.startswith(BALLOT):
            ballot = Ballot.open(storage, "file")
            return "ballot", type(ballot.voted_for).__name__
        snapshot = decode_snapshot(data, "file")
    except StorageDamagedError as error:
        return complaint(error)
    return "snapshot", len(snapshot.voters)


def _journal_seeds() -> list[bytes]:
    entries = [Entry(bytes([n]) * 5, n, n // 2 + 1) for n in range(1, 6)]
    replaced = journal_image(entries[:3])
    return [journal_image([]), journal_image(entries), replaced]


def _sealed_seeds() -> list[bytes]:
    snapshot = Snapshot(_state().to_plain(), Entry(b"b", 6, 2), Entry(b"a", 5, 2), ("n1",))
    ballot = seal(BALLOT, 1, msgpack.packb([7, "n1"]))
    return [encode_snapshot(snapshot), ballot, seal(BALLOT, 1, msgpack.packb([0, None]))]


def _mend_sealed(data: bytes, random: Random) -> bytes:
    """Another value inside, under a right checksum."""
    magic = data[:8] if data[:8] in {BALLOT, SNAPSHOT} else BALLOT
    return seal(magic, 1, mend_message(data[24:], random))


def _mend_journal(data: bytes, random: Random) -> bytes:
    """Right checksums for the header, and for each record where it is."""
    mended = bytearray(data)
    if len(mended) < 24:
        return data
    mended[8:12] = struct.pack("<I", crc32(mended[12:24]))
    at = 24
    while at + 36 <= len(mended):
        (length,) = struct.unpack_from("<I", mended, at + 8)
        end = at + 36 + length
        if end > len(mended):
            break
        if random.random() < 0.9:
            crc = crc32(mended[at + 8 : end], at & 0xFFFF_FFFF)
            mended[at + 4 : at + 8] = struct.pack("<I", crc)
        at = end
    return bytes(mended)


TARGETS = (
    Target("commands", _command, _requests, mend_message, largest=70_000, memory_factor=128),
    Target("raft_messages", _raft_message, raft_messages, mend_message),
    Target("journal", _journal, _journal_seeds, _mend_journal, (b"\xc5\x9fR1",)),
    Target("sealed", _sealed, _sealed_seeds, _mend_sealed),
)
