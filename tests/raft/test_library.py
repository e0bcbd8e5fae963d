"""The contract with PySyncObj: every private name and habit that library.py and facades.py rely on."""

from __future__ import annotations

import inspect
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pysyncobj import FAIL_REASON, SyncObj, SyncObjConf, syncobj
from pysyncobj.config import SERIALIZER_STATE
from pysyncobj.journal import Journal as LibraryJournal
from pysyncobj.node import Node
from pysyncobj.serializer import Serializer
from pysyncobj.transport import Transport
from pysyncobj.version import VERSION

from chronosdb.raft import codec, facades, library, messages
from chronosdb.raft.errors import OutcomeUnknownError, RefusedError
from tests.raft.fake_storage import MemoryStorage
from tests.raft.harness import Single

PART = Path(__file__).parents[2] / "raft"
PRIVATE = {
    "serializer",
    "raftLastApplied",
    "raftCommitIndex",
    "raftElectionDeadline",
    "newAppendEntriesTime",
    "transferInProgress",
    "otherNodes",
    "readonlyNodes",
    "connectedNodes",
    "raftNextIndex",
    "raftMatchIndex",
    "lastResponseTime",
}


def test_the_pinned_version_is_installed() -> None:
    """Anything else must be audited first; core.py refuses to import with it."""
    assert VERSION == library.PINNED == "0.3.17"


def test_another_version_is_refused_at_import() -> None:
    """In a process of its own, since the answer is remembered."""
    code = "import pysyncobj.version as v; v.VERSION = '0.3.18'; import chronosdb.raft"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(PART)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert "ImportError: pysyncobj 0.3.18 is installed" in run.stderr


def test_only_core_knows_the_library() -> None:
    """One file imports it, the same one has its private names."""
    sources = {path.name: path.read_text() for path in (PART / "chronosdb").rglob("*.py")}
    for pattern in (r"(import|from) pysyncobj", "_SyncObj__"):
        assert {name for name, text in sources.items() if re.search(pattern, text)} == {
            "library.py"
        }


def test_a_stock_object_has_the_private_names_we_set() -> None:
    """With the types we put there."""
    stock = SyncObj(Node("n"), [], SyncObjConf(autoTick=False), transport=Transport(None, None, []))
    for name in PRIVATE:
        assert hasattr(stock, f"_SyncObj__{name}"), name
    source = inspect.getsource(library)
    assert set(re.findall(r'self\._(?:get|set)\("(\w+)"', source)) == PRIVATE


@pytest.mark.parametrize("name", ["monotonicTime", "random", "pickle", "createJournal"])
def test_the_library_has_the_globals_we_bind(name: str) -> None:
    """And reads them by that name."""
    assert hasattr(syncobj, name)
    assert f"{name}." in inspect.getsource(syncobj) or f"{name}(" in inspect.getsource(syncobj)


def test_the_states_are_as_we_read_them() -> None:
    """Numbers that are copied because their names are private or in a class of the library."""
    assert syncobj._RAFT_STATE.LEADER == library._LEADER
    assert SERIALIZER_STATE.NOT_SERIALIZING == facades.NOT_SERIALIZING
    assert SERIALIZER_STATE.SUCCESS == facades.SERIALIZED
    kinds = syncobj._COMMAND_TYPE
    assert (kinds.REGULAR, kinds.NO_OP) == messages._ENTRY_KINDS


def test_every_fail_reason_has_one_meaning() -> None:
    """Definite and unknown outcomes are told apart for all reasons the library has."""
    reasons = {v for k, v in vars(FAIL_REASON).items() if not k.startswith("_")}
    assert reasons == {FAIL_REASON.SUCCESS, *library._MEANING}
    unknown = {
        r for r in library._MEANING if isinstance(library._outcome(None, r), OutcomeUnknownError)
    }
    assert unknown == {FAIL_REASON.LEADER_CHANGED, FAIL_REASON.UNKNOWN_OUTCOME}
    definite = library._MEANING.keys() - unknown
    assert all(isinstance(library._outcome(None, r), RefusedError) for r in definite)


@pytest.mark.parametrize(
    ("facade", "library"),
    [(facades.JournalFacade, LibraryJournal), (facades.SnapshotFacade, Serializer)],
)
def test_the_facades_have_all_methods_of_what_they_stand_for(facade: type, library: type) -> None:
    """Except `_destroy`: the replica closes its own files."""
    wanted = {n for n, f in vars(library).items() if callable(f) and not n.startswith("_")}
    assert wanted
    for name in wanted:
        ours = list(inspect.signature(getattr(facade, name)).parameters)
        theirs = list(inspect.signature(getattr(library, name)).parameters)
        assert len(ours) == len(theirs), name


def test_there_is_exactly_one_replicated_method_and_it_has_number_0() -> None:
    """Numbers are dealt by name; a second method would renumber old journals."""
    raft = Single(MemoryStorage()).replica._core._library._raft
    assert raft._methodToID == {"cmd_v0": 0}


def test_the_commit_index_is_told_before_anything_is_applied() -> None:
    """That is where durable-before-committed hangs: the order in the library's source."""
    source = inspect.getsource(SyncObj._onTick)
    told = source.index("setRaftCommitIndex")
    assert told < source.index("self.__applyLogEntries()", told)
    assert source.index("_checkCommandsToApply") > told


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", b"\x80\x04.", b"\x92\x01\x91\xc4\x00", b"\x92\x00\x91\xa0"]
)
def test_the_codec_turns_what_it_cannot_read_into_an_empty_command(data: bytes) -> None:
    """It never raises: an entry that did would stop every replica."""
    assert codec.loads(data) == (0, (b"",))


def test_the_codec_reads_what_it_writes() -> None:
    """One call of the one method."""
    assert codec.loads(codec.dumps((0, (b"blob",)))) == (0, (b"blob",))


def test_a_random_source_is_all_the_randomness_there_is() -> None:
    """Equal seeds, equal election timeouts."""
    deadlines = set()
    for _ in range(3):
        single = Single(MemoryStorage())
        single.replica._core._library._globals["random"] = random.Random(5)
        single.replica._core._library.enter()
        deadlines.add(single.replica._core._library._raft._SyncObj__generateRaftTimeout())
    assert len(deadlines) == 1
