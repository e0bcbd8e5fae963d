"""The disk of `chronosdb.testing`, which our own tests of the log use too."""

from __future__ import annotations

from chronosdb.testing.memory_disk import MemoryDisk, MemoryFile, PowerCut

__all__ = ["MemoryDisk", "MemoryFile", "PowerCut"]
