"""The names of all files in a data directory: built and parsed here and nowhere else."""

from __future__ import annotations

import re
from dataclasses import dataclass

TEMPORARY_SUFFIX = ".tmp"

_SEGMENT = re.compile(r"([0-9]{20})\.log")
_SIDECAR = re.compile(r"([0-9]{20})\.idx")
_START_MARK = re.compile(r"([0-9]{20})\.start")
_CUT_MARK = re.compile(r"([0-9]{20})\.cut")
_RESET = re.compile(r"([0-9]{20})\.reset")


def join(directory: str, name: str) -> str:
    """The path of a file in a directory."""
    return f"{directory.rstrip('/')}/{name}"


def parent(path: str) -> str:
    """The directory a path is in."""
    return path.rpartition("/")[0] or ("/" if path.startswith("/") else ".")


def segment_name(base_lsn: int) -> str:
    """The name of the segment that begins at ``base_lsn``."""
    return f"{base_lsn:020d}.log"


def segment_path(directory: str, base_lsn: int) -> str:
    """Where that segment lies."""
    return join(directory, segment_name(base_lsn))


def sidecar_path(directory: str, base_lsn: int) -> str:
    """Where the sparse index of that segment lies."""
    return join(directory, f"{base_lsn:020d}.idx")


def start_mark_path(directory: str, start_lsn: int) -> str:
    """Where the empty file lies whose name says that the log begins at ``start_lsn``."""
    return join(directory, f"{start_lsn:020d}.start")


def cut_mark_path(directory: str, end_lsn: int) -> str:
    """Where the empty file lies whose name says that the log is being cut at ``end_lsn``."""
    return join(directory, f"{end_lsn:020d}.cut")


def reset_path(directory: str, start_lsn: int) -> str:
    """Where the segment lies that is to replace the whole log, until it does."""
    return join(directory, f"{start_lsn:020d}.reset")


def segment_base(name: str) -> int | None:
    """The base LSN in a segment's file name; None for any other name."""
    match = _SEGMENT.fullmatch(name)
    return int(match[1]) if match else None


def sidecar_base(name: str) -> int | None:
    """The base LSN in a sidecar's file name; None for any other name."""
    match = _SIDECAR.fullmatch(name)
    return int(match[1]) if match else None


def start_mark_lsn(name: str) -> int | None:
    """The LSN in a start mark's file name; None for any other name."""
    match = _START_MARK.fullmatch(name)
    return int(match[1]) if match else None


def cut_mark_lsn(name: str) -> int | None:
    """The LSN in a cut mark's file name; None for any other name."""
    match = _CUT_MARK.fullmatch(name)
    return int(match[1]) if match else None


def reset_lsn(name: str) -> int | None:
    """The LSN in the file name of a reset; None for any other name."""
    match = _RESET.fullmatch(name)
    return int(match[1]) if match else None


@dataclass(frozen=True, slots=True)
class DataDir:
    """Everything a node keeps."""

    path: str

    @property
    def lock(self) -> str:
        """Locked while a node runs here."""
        return join(self.path, "lock")

    @property
    def identity(self) -> str:
        """The stamp: cluster id and node id."""
        return join(self.path, "identity")

    @property
    def raft(self) -> str:
        """The directory of the metadata journal and its snapshots."""
        return join(self.path, "raft")

    @property
    def partitions(self) -> str:
        """The directory of all partitions."""
        return join(self.path, "partitions")

    @property
    def views(self) -> str:
        """The LevelDB directory: views of all partitions, which can be thrown away."""
        return join(self.path, "views")

    def partition(self, name: str) -> str:
        """The directory of one partition's log: segments and sidecars."""
        assert "/" not in name
        assert name not in {"", ".", ".."}
        return join(self.partitions, name)
