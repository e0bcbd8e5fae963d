"""The peer port: the handshake on both sides, and sealed frames."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import msgpack
import pytest

from chronosdb.node.peers.frames import (
    HANDSHAKE_BYTES_MAX,
    BadFrame,
    Channel,
    FrameReader,
    Opener,
    Sealer,
    framed,
)
from chronosdb.node.peers.handshake import (
    Answering,
    Dialling,
    Proof,
    Refused,
    Self,
    Verdict,
    _mac,
    _transcript,
)
from chronosdb.node.peers.roster import Member, Roster
from tests.fuzz.target import Feature, Target, complaint
from tests.fuzz.targets.peer_calls import DEEP
from tests.fuzz.targets.wire import mend_message

_SECRET = b"the secret of the fuzzer"
_DIALLER, _ACCEPTOR = (Self("c1", name, f"birth of {name}", _SECRET) for name in ("n1", "n2"))
_NONCES = bytes(32), b"\1" * 32
_ROSTER = Roster(
    {
        "n1": Member("n1:1", _DIALLER.birth),
        "n2": Member("n2:1", _ACCEPTOR.birth),
        "gone": Member("gone:1", removed=True),
    }
)
_KEY = b"\2" * 32


def _frames(stream: bytes, step: int) -> tuple[list[bytes], Feature]:
    """The whole frames in `stream`, which comes in pieces of `step` bytes; and how it ended."""
    reader, found = FrameReader(), list[bytes]()
    try:
        for at in range(0, len(stream), step):
            reader.receive(stream[at : at + step])
            while (frame := reader.next_frame()) is not None:
                found.append(frame)
    except BadFrame as error:
        return found, complaint(error)
    return found, None


def _handshake(data: bytes) -> Feature:
    """The first byte says which side hears the frames behind it; both take any bytes."""
    stream = data[1:]
    frames, ended = _frames(stream, len(stream) or 1)
    assert _frames(stream, 3) == (frames, ended), "how bytes arrive must not matter"
    if data[:1] == b"\1":
        return "dialler", ended, _as_dialler(frames)
    return "acceptor", ended, _as_acceptor(frames)


def _as_acceptor(frames: list[bytes]) -> Feature:
    """Whoever is let in has proved it; whoever is not can read why."""
    answering = Answering(_ACCEPTOR, _ROSTER, _NONCES[1])
    try:
        challenge = answering.challenge(frames[0]) if frames else b""
        if len(frames) < 2:
            return len(challenge)
        verdict, keys = answering.conclude(frames[1])
    except BadFrame as error:
        return complaint(error)
    except Refused as refused:
        return _as_told(refused)
    transcript = _transcript(frames[0], challenge)
    assert _mac(_SECRET, "dialler", transcript) in frames[1]
    assert _ROSTER.judge(answering.peer, _DIALLER.birth) is None
    assert len(framed(verdict)) < HANDSHAKE_BYTES_MAX
    assert keys.dialler != keys.acceptor
    return "let in"


def _as_told(refused: Refused) -> Feature:
    """The answer that goes with a refusal fits its frame, and a dialler can read it."""
    told = framed(refused.answer)[4:]
    hearing = Dialling(_DIALLER, "n2", _ROSTER, _NONCES[0])
    read = hearing.conclude if refused.proven else hearing.prove
    with pytest.raises(Refused) as heard:
        read(told)
    # A verdict on anybody else's handshake is not believed.
    assert refused.proven or heard.value.refusal is refused.refusal
    return refused.refusal


def _as_dialler(frames: list[bytes]) -> Feature:
    """Frames are the acceptor's answers to a hello that is always the same."""
    dialling = Dialling(_DIALLER, "n2", _ROSTER, _NONCES[0])
    try:
        proof = dialling.prove(frames[0]) if frames else b""
        if len(frames) < 2:
            return len(proof)
        keys = dialling.conclude(frames[1])
    except BadFrame as error:
        return complaint(error)
    except Refused as refused:
        return refused.refusal, refused.proven
    transcript = _transcript(dialling.hello, frames[0])
    assert _mac(_SECRET, "acceptor", transcript + b":") in frames[1]
    assert keys.dialler != keys.acceptor
    return "let in"


def _handshake_seeds() -> Iterator[bytes]:
    for name, me in (("n2", _DIALLER), ("n2", Self("c1", "gone", "", _SECRET)),
                     ("n3", _DIALLER), ("n2", Self("c2", "n1", "", b"")),
                     ("n2", Self("c1", "\N{OLD HUNGARIAN CAPITAL LETTER A}" * 220, "", _SECRET))):  # fmt: skip
        dialling = Dialling(me, name, _ROSTER, _NONCES[0])
        yield b"\0" + _with_proof(framed(dialling.hello))
    answering = Answering(_ACCEPTOR, _ROSTER, _NONCES[1])
    hello = Dialling(_DIALLER, "n2", _ROSTER, _NONCES[0]).hello
    challenge = framed(answering.challenge(hello))
    for refusal in ("", "removed", "no such refusal"):
        yield b"\1" + _with_verdict(challenge, refusal, "why")
    yield b"\1" + framed(msgpack.packb(["sorry", "secret", "you do not know it"]))


def _with_proof(hello: bytes) -> bytes:
    """A hello, and the proof that goes with it."""
    try:
        challenge = Answering(_ACCEPTOR, _ROSTER, _NONCES[1]).challenge(hello[4:])
    except (BadFrame, Refused):
        challenge = b""
    mac = _mac(_SECRET, "dialler", _transcript(hello[4:], challenge))
    return hello + framed(msgpack.packb([Proof.__struct_config__.tag, mac]))


def _with_verdict(challenge: bytes, refusal: str, text: str) -> bytes:
    """A challenge, and a verdict that is proven."""
    hello = Dialling(_DIALLER, "n2", _ROSTER, _NONCES[0]).hello
    said = f"{refusal}:{text}" if refusal else ":"
    mac = _mac(_SECRET, "acceptor", _transcript(hello, challenge[4:]) + said.encode())
    verdict = [Verdict.__struct_config__.tag, *said.split(":", 1), mac]
    return challenge + framed(msgpack.packb(verdict))


def _mend_handshake(data: bytes, random: Random) -> bytes:
    """Another value in the first frame, and a right proof of it, or another value in the second."""
    frames, _ = _frames(data[1:], len(data) or 1)
    if not frames:
        return data
    if random.random() < 0.3:
        changed = [mend_message(frame, random)[:HANDSHAKE_BYTES_MAX] for frame in frames]
        return data[:1] + b"".join(map(framed, changed))
    first = framed(mend_message(frames[0], random)[:HANDSHAKE_BYTES_MAX])
    if data[:1] == b"\1":
        return data[:1] + _with_verdict(first, random.choice(("", "birth", "secret")), "why")
    return data[:1] + _with_proof(first)


def _sealed(data: bytes) -> Feature:
    """What opens is what was sealed, in its order; the first thing that is not ends it."""
    reader, opener, sealer = FrameReader(), Opener(_KEY), Sealer(_KEY)
    reader.trust()
    found, ended = b"", None
    reader.receive(data)
    kinds = []
    try:
        while (frame := reader.next_frame()) is not None:
            channel, body = opener.open(frame)
            kinds.append(channel)
            found += sealer.seal(channel, body)
    except BadFrame as error:
        ended = complaint(error)
    assert data.startswith(found)
    return len(kinds) > 1, kinds[-1:] == [Channel.PING], ended


def _sealed_seeds() -> Iterator[bytes]:
    sealer = Sealer(_KEY)
    yield b"".join(sealer.seal(channel, b"body %d" % channel) for channel in Channel)
    yield Sealer(_KEY).seal(Channel.PING, b"")


def _mend_sealed(data: bytes, random: Random) -> bytes:
    """Right lengths and codes for all frames but, now and then, one."""
    sealer, mended, at = Sealer(_KEY), b"", 0
    while at + 21 < len(data):
        length = min(int.from_bytes(data[at : at + 4], "big"), len(data) - at - 4)
        body = data[at + 5 : max(at + 4 + length - 16, at + 5)]
        frame = sealer.seal(data[at + 4], body)
        mended += frame if random.random() < 0.9 else data[at : at + len(frame)]
        at += 4 + max(length, 17)
    return mended + data[at:]


TARGETS = (
    Target("peer_handshake", _handshake, _handshake_seeds, _mend_handshake, DEEP, largest=2100),
    Target("peer_frames", _sealed, _sealed_seeds, _mend_sealed),
)
