"""How two nodes prove to each other who they are (sans IO).

    dialler ─ Hello ─▶ acceptor      who I am, whom I want, a nonce
            ◀─ Challenge ─           its directory's birth, a nonce
            ─ Proof ─▶               HMAC(secret, "dialler", both frames)
            ◀─ Verdict ─             HMAC(secret, "acceptor", both frames, the verdict)

Whoever cannot compute the proof learns nothing that a guess at the secret could be checked against.
The proofs cover both nonces, node ids, births, the cluster and the version; the keys of the
connection come from the same bytes. A verdict is authentic: nobody else can tell a node that it was
removed. Without a secret (loopback only, `secret.py`) the same is done with an empty one.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final, Protocol, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

from chronosdb.node.peers.frames import BadFrame

PROTOCOL: Final = "chronosdb-peer/1"
NONCE_BYTES: Final = 32
_PROOF_BYTES: Final = 32
#: Of a reason that is sent: in any script, it fits a frame together with the rest.
_REASON_CHARACTERS_MAX: Final = 200

_Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=249)]
_Id: TypeAlias = Annotated[str, Meta(max_length=64)]
_Text: TypeAlias = Annotated[str, Meta(max_length=256)]
_Nonce: TypeAlias = Annotated[bytes, Meta(min_length=NONCE_BYTES, max_length=NONCE_BYTES)]
_Mac: TypeAlias = Annotated[bytes, Meta(min_length=_PROOF_BYTES, max_length=_PROOF_BYTES)]


class Refusal(StrEnum):
    """Why a connection is not accepted."""

    PROTOCOL = "protocol"
    CLUSTER = "cluster"
    #: The address belongs to another node than the dialler wants.
    ADDRESS = "address"
    #: The dialler has the acceptor's own name.
    OWN_NAME = "own_name"
    SECRET = "secret"  # noqa: S105 - says that it is wrong
    UNKNOWN = "unknown"
    REMOVED = "removed"
    #: The name is known with another data directory.
    BIRTH = "birth"


class Refused(Exception):
    """This connection is not wanted; `answer` is what to tell the other side, if anything."""

    def __init__(
        self, refusal: Refusal, text: str, *, answer: bytes = b"", proven: bool = False
    ) -> None:
        super().__init__(text)
        self.refusal = refusal
        self.answer = answer
        #: Whether a node of the cluster said so, rather than anyone.
        self.proven = proven


class Hello(msgspec.Struct, frozen=True, array_like=True, tag="hello"):
    """The dialler's first frame."""

    protocol: _Id
    cluster_id: _Id
    sender: _Name
    receiver: _Name
    birth: _Id
    nonce: _Nonce


class Challenge(msgspec.Struct, frozen=True, array_like=True, tag="challenge"):
    """The acceptor's answer, if it may be meant."""

    birth: _Id
    nonce: _Nonce


class Sorry(msgspec.Struct, frozen=True, array_like=True, tag="sorry"):
    """The acceptor's answer otherwise. Proves nothing: anyone can say so."""

    refusal: _Id
    text: _Text


class Proof(msgspec.Struct, frozen=True, array_like=True, tag="proof"):
    """The dialler knows the secret."""

    mac: _Mac


class Verdict(msgspec.Struct, frozen=True, array_like=True, tag="verdict"):
    """The acceptor knows it, too; `refusal` is empty if the dialler is welcome."""

    refusal: _Id
    text: _Text
    mac: _Mac


@dataclass(frozen=True, slots=True)
class Self:
    """Who a node is to its peers."""

    cluster_id: str
    node_id: str
    #: Names its data directory.
    birth: str
    secret: bytes


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one connection, one for each direction."""

    dialler: bytes
    acceptor: bytes


class Judge(Protocol):
    """Knows the nodes of the cluster."""

    def judge(self, node: str, birth: str) -> tuple[Refusal, str] | None:
        """Why this node is not to be spoken with, or None."""


class Dialling:
    """The dialler's side of one handshake."""

    def __init__(self, me: Self, receiver: str, judge: Judge, nonce: bytes) -> None:
        self._me = me
        self._receiver = receiver
        self._judge = judge
        hello = Hello(PROTOCOL, me.cluster_id, me.node_id, receiver, me.birth, nonce)
        #: The first frame to send.
        self.hello = msgspec.msgpack.encode(hello)
        self._transcript = b""
        self._birth = ""

    def prove(self, frame: bytes) -> bytes:
        """The proof, after the challenge.

        Raises:
            Refused: there was none.
            BadFrame: it makes no sense.
        """
        answer = _decoded(frame, _CHALLENGE)
        if isinstance(answer, Sorry):
            raise Refused(_refusal(answer.refusal), answer.text)
        self._birth = answer.birth
        self._transcript = _transcript(self.hello, frame)
        return msgspec.msgpack.encode(Proof(_mac(self._me.secret, "dialler", self._transcript)))

    def conclude(self, frame: bytes) -> Keys:
        """The connection's keys, after the verdict.

        Raises:
            Refused: by the acceptor, or by us because it is not who it should be.
            BadFrame: it makes no sense.
        """
        answer = _decoded(frame, _VERDICT)
        if isinstance(answer, Sorry):
            raise Refused(_refusal(answer.refusal), answer.text)
        text = f"{answer.refusal}:{answer.text}".encode()
        expected = _mac(self._me.secret, "acceptor", self._transcript + text)
        if not hmac.compare_digest(answer.mac, expected):
            raise Refused(Refusal.SECRET, "it does not know the cluster secret")
        if answer.refusal:
            raise Refused(_refusal(answer.refusal), answer.text, proven=True)
        found = self._judge.judge(self._receiver, self._birth)
        if found is not None:
            raise Refused(*found)
        return _keys(self._me.secret, self._transcript)


class Answering:
    """The acceptor's side of one handshake."""

    def __init__(self, me: Self, judge: Judge, nonce: bytes) -> None:
        self._me = me
        self._judge = judge
        self._nonce = nonce
        self._transcript = b""
        self._birth = ""
        #: Who the dialler says it is; proven once `conclude` returned.
        self.peer = ""

    def challenge(self, frame: bytes) -> bytes:
        """The challenge, after the hello.

        Raises:
            Refused: the dialler is wrong here; with the answer for it.
            BadFrame: it makes no sense.
        """
        hello = _decoded(frame, _HELLO)
        found = self._wrong_address(hello)
        if found is not None:
            raise _sorry(*found)
        self.peer, self._birth = hello.sender, hello.birth
        answer = msgspec.msgpack.encode(Challenge(self._me.birth, self._nonce))
        self._transcript = _transcript(frame, answer)
        return answer

    def conclude(self, frame: bytes) -> tuple[bytes, Keys]:
        """The verdict to send and the connection's keys, after the proof.

        Raises:
            Refused: it is no proof, or the dialler is not wanted; with the answer for it.
            BadFrame: it makes no sense.
        """
        proof = _decoded(frame, _PROOF)
        if not hmac.compare_digest(proof.mac, _mac(self._me.secret, "dialler", self._transcript)):
            raise _sorry(Refusal.SECRET, "you do not know the cluster secret")
        found = self._judge.judge(self.peer, self._birth)
        if found is not None:
            refusal, text = found
            raise Refused(refusal, text, answer=self._verdict(refusal, text), proven=True)
        return self._verdict("", ""), _keys(self._me.secret, self._transcript)

    def _wrong_address(self, hello: Hello) -> tuple[Refusal, str] | None:
        me = self._me
        if hello.protocol != PROTOCOL:
            return Refusal.PROTOCOL, f"this node speaks {PROTOCOL}, you {hello.protocol}"
        if hello.cluster_id != me.cluster_id:
            return Refusal.CLUSTER, f"this is cluster {me.cluster_id}, not {hello.cluster_id}"
        if hello.receiver != me.node_id:
            return Refusal.ADDRESS, f"this is node {me.node_id}"
        if hello.sender == me.node_id:
            return Refusal.OWN_NAME, f"this is node {me.node_id}; you need a name of your own"
        return None

    def _verdict(self, refusal: str, text: str) -> bytes:
        reason = text[:_REASON_CHARACTERS_MAX]
        said = f"{refusal}:{reason}".encode()
        mac = _mac(self._me.secret, "acceptor", self._transcript + said)
        return msgspec.msgpack.encode(Verdict(refusal, reason, mac))


_T = TypeVar("_T")
_HELLO = msgspec.msgpack.Decoder(Hello)
_CHALLENGE: msgspec.msgpack.Decoder[Challenge | Sorry] = msgspec.msgpack.Decoder(Challenge | Sorry)
_PROOF = msgspec.msgpack.Decoder(Proof)
_VERDICT: msgspec.msgpack.Decoder[Verdict | Sorry] = msgspec.msgpack.Decoder(Verdict | Sorry)


def _decoded(frame: bytes, decoder: msgspec.msgpack.Decoder[_T]) -> _T:
    try:
        return decoder.decode(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadFrame(f"no handshake: {error}") from None


def _sorry(refusal: Refusal, text: str) -> Refused:
    answer = msgspec.msgpack.encode(Sorry(refusal, text[:_REASON_CHARACTERS_MAX]))
    return Refused(refusal, text, answer=answer)


def _refusal(code: str) -> Refusal:
    try:
        return Refusal(code)
    except ValueError:
        return Refusal.PROTOCOL


def _transcript(hello: bytes, challenge: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in (hello, challenge))


def _mac(secret: bytes, role: str, content: bytes) -> bytes:
    return hmac.digest(secret, f"{PROTOCOL} {role}\0".encode() + content, "sha256")


def _keys(secret: bytes, transcript: bytes) -> Keys:
    return Keys(
        dialler=_mac(secret, "dialler's frames", transcript),
        acceptor=_mac(secret, "acceptor's frames", transcript),
    )
