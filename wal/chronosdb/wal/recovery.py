"""What to do about the end of a log: the decision as a table, and the report of what was found.

A crash may leave anything behind the last sync: nothing, zeros, part of a group, all of it but one
page. Such a *torn* tail was never promised to anyone and is cut. Damage is different: bytes that
were promised are gone. Two witnesses tell them apart. The caller may know that the log was durable
beyond the bad place; and every record carries how far the log was durable before its group was
written, so a later record can testify for an earlier place.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Behind(Enum):
    """What lies at and behind the first place without a valid record."""

    NOTHING = "nothing: the file ends, or only zeros follow"
    RUBBISH = "bytes, but no valid record"
    UNSYNCED = "valid records, written before this place was durable"
    WITNESS = "a valid record, written after this place was durable"
    MISFIT = "a valid record that does not continue the one before it"


class Verdict(Enum):
    """What it means."""

    CLEAN = "the log ends here"
    TORN = "cut here: what follows was never durable"
    DAMAGED = "durable bytes are gone: touch nothing"


# (the caller knows that the log was durable beyond this place, what lies behind) -> verdict
VERDICTS: dict[tuple[bool, Behind], Verdict] = {
    (False, Behind.NOTHING): Verdict.CLEAN,
    (False, Behind.RUBBISH): Verdict.TORN,
    (False, Behind.UNSYNCED): Verdict.TORN,
    (False, Behind.WITNESS): Verdict.DAMAGED,
    # No crash makes a whole record in its own place with the wrong numbers.
    (False, Behind.MISFIT): Verdict.DAMAGED,
    (True, Behind.NOTHING): Verdict.DAMAGED,
    (True, Behind.RUBBISH): Verdict.DAMAGED,
    (True, Behind.UNSYNCED): Verdict.DAMAGED,
    (True, Behind.WITNESS): Verdict.DAMAGED,
    (True, Behind.MISFIT): Verdict.DAMAGED,
}


@dataclass(frozen=True, slots=True)
class Ending:
    """How the records of the last segment end."""

    lsn: int
    """The first place without a valid record."""
    behind: Behind
    written_end: int
    """LSN after the last byte that is not zero; ``lsn`` if there is none."""
    why: str
    """What is wrong with the bytes at ``lsn``."""

    def verdict(self, durable_lsn: int) -> Verdict:
        """What to do, if everything below ``durable_lsn`` is known to have been durable."""
        return VERDICTS[self.lsn < durable_lsn, self.behind]

    def damage(self, durable_lsn: int) -> str | None:
        """A sentence for the report if the verdict is damage."""
        if self.verdict(durable_lsn) is not Verdict.DAMAGED:
            return None
        known = f"; it was durable up to lsn {durable_lsn}" if self.lsn < durable_lsn else ""
        return f"at lsn {self.lsn}: {self.why}; behind it: {self.behind.value}{known}"


@dataclass(frozen=True, slots=True)
class Recovery:
    """What opening a log found, and did."""

    directory: str
    segments: int
    start_lsn: int
    end_lsn: int
    torn_bytes: int
    """Bytes behind ``end_lsn`` that no sync ever covered; cut if the log was opened for writing."""
    damage: tuple[str, ...]
    """What is wrong with bytes that were durable. A damaged log can only be opened read-only."""

    def __str__(self) -> str:
        text = (
            f"log {self.directory}: {self.segments} segments, "
            f"lsn {self.start_lsn} to {self.end_lsn}, {self.torn_bytes} torn bytes at its end"
        )
        if not self.damage:
            return text
        lines = "".join(f"\n  {line}" for line in self.damage)
        return (
            f"{text}; DAMAGED, nothing was changed:{lines}\n"
            "Restore the directory from a replica or a backup; `chronos log verify` lists all of it."
        )
