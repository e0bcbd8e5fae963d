"""What can go wrong with a measurement."""

from __future__ import annotations


class BenchError(Exception):
    """A figure could not be taken, or would mean nothing. The message says why and what to do."""
