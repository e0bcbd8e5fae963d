"""What the metadata of a stopped node say, read from its files alone: it needs no majority, as a replica does."""

from __future__ import annotations

from chronosdb.raft import ClusterView, codec
from chronosdb.raft.messages import COMMAND_KIND
from chronosdb.raft.state import ClusterState
from chronosdb.raft.store import Store
from chronosdb.testing.memory_disk import MemoryDisk
from chronosdb.wal import DataDir, Disk

_FILES = ("ballot", "journal", "snapshot")


def metadata_view(disk: Disk, data_dir: str) -> ClusterView:
    """The snapshot, and everything in the journal: also what is not committed yet, if there is any."""
    source, copy = DataDir(data_dir).raft, MemoryDisk()
    copy.mkdir(source)
    for name in _FILES:  # opening writes
        path = f"{source}/{name}"
        if disk.exists(path):
            copy.write_file_atomic(path, disk.read_file(path))
    store = Store.open(copy, source)
    state, applied = ClusterState(), 0
    if store.recovered is not None:
        state.restore(store.recovered.state)
        applied = store.recovered.newest.idx
    for entry in store.journal.entries:
        if entry.idx > applied and entry.command[0] == COMMAND_KIND:
            _, (blob,) = codec.loads(entry.command[1:])
            state.apply_blob(blob, entry.idx)
    store.journal.close()
    return state.view
