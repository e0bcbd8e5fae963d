"""What faults need of the machine: a file system that can lose its power, a network that can be cut, a false clock.

Each says what it lacks here instead of failing half-way; whatever is made is taken away again.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from itertools import count
from pathlib import Path
from typing import Final

#: _IOR('X', 125, __u32), and its flag that throws away what the journal has not written.
_EXT4_IOC_SHUTDOWN: Final = 0x8004587D
_NO_LOG_FLUSH: Final = 2
_IMAGE_BYTES: Final = 512 * 1024 * 1024
_FAKETIME: Final = (
    *("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/local/lib"),
)
_numbers: Final = count(os.getpid() % 200)


class Refused(Exception):
    """A system tool said no; the message is what it said."""


def run(*words: str) -> str:
    """Runs a tool; raises Refused."""
    done = subprocess.run(words, capture_output=True, check=False, text=True)
    if done.returncode:
        raise Refused(f"{' '.join(words)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def lacking(*tools: str) -> str | None:
    """Which of these tools, or the right to use them, is missing."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        return f"{', '.join(missing)} not installed"
    return None if os.geteuid() == 0 else "needs root"


def _refusal(attempt: Callable[[], None]) -> str | None:
    """Why it is not allowed here, although the tools are: in a container root may do little."""
    try:
        attempt()
    except (Refused, OSError) as error:
        return f"not allowed here: {error}"
    return None


class Ext4:
    """A real ext4 in a file, mounted. Its power can be cut: what was not synced is gone.

    The loop device writes into the page cache of this machine, so it is a drive without a cache of its own.
    """

    def __init__(self, image: Path, where: Path) -> None:
        self.where = where
        self._image = image

    @staticmethod
    def missing() -> str | None:
        """Why there is none here."""
        return lacking("mkfs.ext4", "mount", "umount") or _refusal(_mount_once)

    @contextmanager
    def mounted(self) -> Iterator[None]:
        """Made, and taken away; raises Refused."""
        self.where.mkdir()
        with self._image.open("wb") as image:
            image.truncate(_IMAGE_BYTES)
        run("mkfs.ext4", "-q", "-F", str(self._image))
        self.mount()
        try:
            yield
        finally:
            with suppress(Refused):
                run("umount", "--lazy", str(self.where))

    def mount(self) -> None:
        """Reads the journal, as after a real cut; raises Refused."""
        run("mount", "-o", "loop", str(self._image), str(self.where))

    def cut_power(self) -> None:
        """From now on nothing reaches the device; every write fails."""
        directory = os.open(self.where, os.O_RDONLY)
        try:
            fcntl.ioctl(directory, _EXT4_IOC_SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(directory)

    def unmount(self) -> None:
        """Raises Refused when it stays in use."""
        for _ in range(50):
            with suppress(Refused):
                run("umount", str(self.where))
                return
            time.sleep(0.1)  # the kernel lets go of a killed process's files in its own time
        run("umount", str(self.where))


class Namespace:
    """A network namespace of its own for the node, joined to ours by a cable that can be cut."""

    def __init__(self) -> None:
        number = next(_numbers)
        self.name = f"chronos-{os.getpid()}-{number}"
        self._cable = f"chr{os.getpid() % 100_000}n{number % 100}"
        net = f"10.213.{number % 250}"
        self._ours, self.address = f"{net}.1", f"{net}.2"

    @staticmethod
    def missing() -> str | None:
        """Why there is none here."""
        return lacking("ip", "nft") or _refusal(_cut_once)

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Made, and taken away; raises Refused."""
        run("ip", "netns", "add", self.name)
        try:
            far = f"{self._cable}p"
            run("ip", "link", "add", self._cable, "type", "veth", "peer", far, "netns", self.name)
            run("ip", "addr", "add", f"{self._ours}/24", "dev", self._cable)
            run("ip", "link", "set", self._cable, "up")
            self._inside("ip", "addr", "add", f"{self.address}/24", "dev", far)
            self._inside("ip", "link", "set", far, "up")
            self._inside("ip", "link", "set", "lo", "up")
            yield
        finally:
            with suppress(Refused):
                run("ip", "netns", "del", self.name)

    @property
    def wrapper(self) -> tuple[str, ...]:
        """Before a command that is to run inside."""
        return ("ip", "netns", "exec", self.name)

    def cut(self, *hooks: str) -> None:
        """Drops all packets, in silence: "input" those to the node, "output" those from it."""
        rules = "".join(
            f"chain {hook} {{\n type filter hook {hook} priority 0\n drop\n }}\n" for hook in hooks
        )
        self._inside("nft", f"table inet chronos {{\n{rules}}}")

    def heal(self) -> None:
        """Lets packets through again."""
        with suppress(Refused):
            self._inside("nft", "delete table inet chronos")

    def _inside(self, *words: str) -> None:
        run(*self.wrapper, *words)


class FakeClock:
    """A wall clock for one process, set at will; the monotonic one and the machine's own are left alone."""

    def __init__(self, file: Path) -> None:
        self._file = file
        #: What the node's wall clock shows beyond this machine's.
        self.offset_ms = 0
        self.set(0)

    @staticmethod
    def missing() -> str | None:
        """Why there is none here."""
        return None if _library() else "libfaketime not installed"

    @property
    def wrapper(self) -> tuple[str, ...]:
        """Before a command that is to live by this clock."""
        return (
            *("env", f"LD_PRELOAD={_library()}", f"FAKETIME_TIMESTAMP_FILE={self._file}"),
            *("FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"),
        )

    def set(self, offset_ms: int) -> None:
        """Steps the clock to so far from this machine's."""
        other = self._file.with_suffix(".new")
        other.write_text(f"{offset_ms / 1000:+.3f}\n")
        other.rename(self._file)  # at once: it is read at every look at the clock
        self.offset_ms = offset_ms


def _library() -> Path | None:
    places = (Path(place) / "faketime" / "libfaketimeMT.so.1" for place in _FAKETIME)
    return next((place for place in places if place.exists()), None)


def missing_tracer() -> str | None:
    """Why system calls of a running process cannot be made slow, or fail, here."""
    return lacking("strace") or _refusal(_trace_once)


@cache
def _mount_once() -> None:
    with tempfile.TemporaryDirectory(prefix="chronos-probe-") as directory:
        disk = Ext4(Path(directory, "image"), Path(directory, "disk"))
        with disk.mounted():
            disk.cut_power()
            disk.unmount()


@cache
def _cut_once() -> None:
    namespace = Namespace()
    with namespace.joined():
        namespace.cut("input")
        namespace.heal()


@cache
def _trace_once() -> None:
    with subprocess.Popen(["sleep", "0.2"]) as traced:
        run("strace", "-o", os.devnull, "-e", "trace=fdatasync", "-p", str(traced.pid))
