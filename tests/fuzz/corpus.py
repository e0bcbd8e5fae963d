"""Inputs in files: those that took a way of their own, kept in the repository, and findings."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

#: A file for each target, a line of base64 for each input: readable differences, and few files.
CORPUS: Final = Path(__file__).parent / "corpus"
#: What the repository keeps of a target: enough to begin with, small enough to replay in a moment.
INPUTS_MAX: Final = 150
INPUT_BYTES_MAX: Final = 2048


def load(target: str) -> list[bytes]:
    """The inputs that are kept of a target."""
    path = CORPUS / f"{target}.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return [base64.b64decode(line, validate=True) for line in lines]


def renew(target: str, inputs: Iterable[bytes]) -> None:
    """Puts `inputs` in the place of what was kept: if they are too many, some of each length."""
    fitting = [data for data in sorted(inputs, key=len) if 0 < len(data) <= INPUT_BYTES_MAX]
    every = -(-len(fitting) // INPUTS_MAX) or 1
    lines = (base64.b64encode(data).decode() + "\n" for data in fitting[::every])
    CORPUS.mkdir(exist_ok=True)
    (CORPUS / f"{target}.txt").write_text("".join(lines))


def save_finding(folder: Path, data: bytes, story: str) -> None:
    """Writes an input, and beside it what it led to."""
    folder.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(data).hexdigest()[:16]
    (folder / f"{name}.bin").write_bytes(data)
    (folder / f"{name}.txt").write_text(story)
