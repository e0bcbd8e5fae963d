"""After the first error nothing more is written: a second attempt could claim success for a loss."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from chronosdb.wal.errors import DiskFull, LogFailed

if TYPE_CHECKING:
    from collections.abc import Iterator


class FailStop:
    """Whether a log may still trust its disk."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        # Invariant: once set it stays set.
        self.error: BaseException | None = None

    def check(self) -> None:
        """Raises LogFailed if there was an error."""
        if self.error is not None:
            raise LogFailed(
                f"{self._directory} accepts nothing more since: {self.error!r}"
            ) from self.error

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Any error inside ends the log for good, but for DiskFull, which promises no change.

        Raises:
            LogFailed: there was one.
        """
        try:
            yield
        except DiskFull:
            raise
        except BaseException as error:
            self.error = error
            raise LogFailed(
                f"{self._directory} failed and accepts nothing more: {error!r}"
            ) from error
