"""PostgreSQL: a table with an index on the due time, taken from with SKIP LOCKED, polled."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import struct
import subprocess
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, Final

from bench.errors import BenchError
from bench.peers.item import Item
from bench.peers.peer import Lane, Peer

#: Polling is the latency: more often costs CPU while nothing is due.
POLL_S: Final = 0.005
#: Connections that COPY at one time: with more, two processors only take turns.
WRITERS: Final = 3

#: COPY in its binary form: rows of id, due time in µs since 2000, payload.
_EPOCH_MS: Final = 946_684_800_000
_ROW: Final = struct.Struct(">hiqiqi")
_BEGIN: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END: Final = b"\xff\xff"

_TABLE: Final = b"""
CREATE TABLE event (id bigint PRIMARY KEY, due timestamptz NOT NULL, payload bytea NOT NULL);
CREATE INDEX ON event (due);
"""
_INSERT: Final = b"INSERT INTO event VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
_TAKE: Final = b"""
DELETE FROM event WHERE ctid = ANY (ARRAY (
    SELECT ctid FROM event WHERE due <= now() ORDER BY due LIMIT 500 FOR UPDATE SKIP LOCKED
)) RETURNING payload
"""


class Postgres(Peer):
    """Debian's settings: synchronous_commit is on."""

    name = "PostgreSQL"

    @classmethod
    def missing(cls) -> str | None:
        """What is not installed."""
        if importlib.util.find_spec("psycopg") is None:
            return "psycopg is not installed: pip install 'psycopg[binary]', or make bench-peers"
        if _program("postgres") is None or _program("initdb") is None:
            return "postgres is not installed: apt-get install postgresql, or make bench-peers"
        return None

    def owner(self) -> str | None:
        """It refuses to run as root."""
        return "postgres" if os.getuid() == 0 else None

    def prepare(self, home: Path) -> None:
        """Make the cluster of databases, as its owner."""
        data, owner = home / "data", self.owner()
        data.mkdir(mode=0o700)
        ownership: dict[str, Any] = {}
        if owner is not None:
            account = pwd.getpwnam(owner)
            os.chown(data, account.pw_uid, account.pw_gid)
            # Both are directories of the bench, made for us alone; TMPDIR itself must let others in.
            home.chmod(0o755)
            home.parent.chmod(0o755)
            ownership = {"user": account.pw_uid, "group": account.pw_gid}
        command = [str(_program("initdb")), "-D", str(data), "-A", "trust", "-U", "postgres"]
        done = subprocess.run(
            [*command, "--no-sync"], cwd=home, capture_output=True, check=False, **ownership
        )
        if done.returncode:
            raise BenchError(f"initdb: {done.stderr.decode(errors='replace')[-500:]}")

    def command(self, home: Path, *, durable: bool) -> list[str]:
        """`durable` or not, it is: that costs it little."""
        del durable
        settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=on"]
        options = [word for setting in settings for word in ("-c", setting)]
        return [
            str(_program("postgres")), "-D", str(home / "data"), "-p", str(self.port), *options,
        ]  # fmt: skip

    def ping(self) -> None:
        """While it recovers, it lets nobody in."""
        self._ask(b"SELECT 1")

    def setup(self) -> None:
        """The table."""
        self._ask(_TABLE)

    def pending(self) -> int:
        """Rows that are not due."""
        return int(self._ask(b"SELECT count(*) FROM event WHERE due > now()").get_value(0, 0))

    def publish(self, batches: Iterable[list[Item]], batch: int, in_flight: int) -> None:
        """A batch is one COPY and one transaction; of one event, an INSERT."""
        source, lock = iter(batches), Lock()

        def write() -> None:
            with self._link() as link:
                store = _copier(link) if batch > 1 else _inserter(link)
                while True:
                    with lock:
                        items = next(source, None)
                    if items is None:
                        return
                    store(items)

        writers = min(in_flight, WRITERS) if batch > 1 else in_flight
        with ThreadPoolExecutor(writers) as pool:
            for done in [pool.submit(write) for _ in range(writers)]:
                done.result()

    def lane(self) -> Lane:
        """An INSERT, and its commit."""
        return _InsertLane(self._dial())

    def consume(self) -> Generator[list[bytes], None, None]:
        """Take, hand over, commit: a crash in between delivers again."""
        self._ask(b"ANALYZE event")
        with self._link() as link:
            _checked(link.prepare(b"take", _TAKE))
            link.enter_pipeline_mode()
            last = b"SELECT 1"
            while True:
                link.send_query_params(last, None)
                link.send_query_params(b"BEGIN", None)
                link.send_query_prepared(b"take", [], result_format=1)
                link.pipeline_sync()
                taken = _until_sync(link)[2]
                yield [taken.get_value(row, 0) for row in range(taken.ntuples)]
                last = b"COMMIT"
                if not taken.ntuples:
                    time.sleep(POLL_S)

    def _dial(self) -> Any:
        from psycopg import pq  # noqa: PLC0415 - optional: only who measures PostgreSQL needs it

        words = f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres sslmode=disable"
        link = pq.PGconn.connect(words.encode())
        if link.status != pq.ConnStatus.OK:
            raise BenchError(f"PostgreSQL said: {link.error_message.decode()}")
        return link

    @contextmanager
    def _link(self) -> Iterator[Any]:
        link = self._dial()
        try:
            yield link
        finally:
            link.finish()

    def _ask(self, query: bytes) -> Any:
        with self._link() as link:
            return _checked(link.exec_(query))


def _program(name: str) -> str | None:
    """Debian keeps the programs of the server off the path."""
    places = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
    return shutil.which(name, path=os.pathsep.join(places)) or shutil.which(name)


def _due_us(one: Item) -> int:
    """Due time in µs since 2000; what is due at once is due now."""
    return ((one.due_ms or time.time_ns() // 1_000_000) - _EPOCH_MS) * 1000


def _row(one: Item) -> bytes:
    return _ROW.pack(3, 8, one.number, 8, _due_us(one), len(one.payload)) + one.payload


def _copier(link: Any) -> Callable[[list[Item]], None]:
    """Stores a batch with one COPY."""

    def copy(items: list[Item]) -> None:
        _checked(link.exec_(b"COPY event FROM STDIN (FORMAT binary)"))
        link.put_copy_data(_BEGIN + b"".join(map(_row, items)) + _END)
        link.put_copy_end()
        while result := link.get_result():
            _checked(result)

    return copy


def _values(one: Item) -> list[bytes]:
    return [struct.pack(">q", one.number), struct.pack(">q", _due_us(one)), one.payload]


def _inserter(link: Any) -> Callable[[list[Item]], None]:
    """Stores events one by one."""
    _checked(link.prepare(b"insert", _INSERT))

    def insert(items: list[Item]) -> None:
        for one in items:
            _checked(link.exec_prepared(b"insert", _values(one), [1, 1, 1]))

    return insert


class _InsertLane:
    """An INSERT at a time, without waiting inside libpq."""

    def __init__(self, link: Any) -> None:
        self._link = link
        _checked(link.prepare(b"insert", _INSERT))
        link.nonblocking = 1

    def fileno(self) -> int:
        """What to wait on."""
        return int(self._link.socket)

    def send(self, one: Item) -> None:
        """One transaction."""
        self._link.send_query_prepared(b"insert", _values(one), [1, 1, 1])
        self._link.flush()

    def acks(self) -> int:
        """How many commits were confirmed."""
        self._link.consume_input()
        count = 0
        while not self._link.is_busy():
            result = self._link.get_result()
            if result is None:
                break
            _checked(result)
            count += 1
        return count

    def close(self) -> None:
        """Hang up."""
        self._link.finish()


def _until_sync(link: Any) -> list[Any]:
    """The results of everything since the last sync."""
    found: list[Any] = []
    while True:
        result = link.get_result()
        if result is None:
            continue
        if _status(result) == "PIPELINE_SYNC":
            return found
        found.append(_checked(result))


def _checked(result: Any) -> Any:
    if _status(result) in {"FATAL_ERROR", "BAD_RESPONSE", "PIPELINE_ABORTED"}:
        raise BenchError(f"PostgreSQL said: {result.error_message.decode()}")
    return result


def _status(result: Any) -> str:
    from psycopg import pq  # noqa: PLC0415 - as above

    name: str = pq.ExecStatus(result.status).name
    return name
