"""Two nodes prove to each other who they are; nobody else gets anywhere."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronosdb.node.peers.frames import BadFrame
from chronosdb.node.peers.handshake import (
    Answering,
    Challenge,
    Dialling,
    Hello,
    Keys,
    Proof,
    Refusal,
    Refused,
    Self,
    Sorry,
    Verdict,
)
from chronosdb.node.peers.roster import Member, Roster

A = Self("c1", "a", "birtha", b"secret")
B = Self("c1", "b", "birthb", b"secret")
ROSTER_OF_A = Roster({"b": Member("b:1", "birthb")})
ROSTER_OF_B = Roster({"a": Member("a:1", "birtha")})


def _shake(
    dialler: Self = A,
    acceptor: Self = B,
    *,
    wanted: str = "b",
    knows: Roster = ROSTER_OF_A,
    judges: Roster = ROSTER_OF_B,
) -> tuple[Keys, Keys, str]:
    """The keys that each side came to, and whom the acceptor takes the dialler for."""
    dialling = Dialling(dialler, wanted, knows, b"1" * 32)
    answering = Answering(acceptor, judges, b"2" * 32)
    try:
        proof = dialling.prove(answering.challenge(dialling.hello))
        verdict, theirs = answering.conclude(proof)
    except Refused as refused:
        if refused.answer:
            _conclude_with(dialling, refused.answer)
        raise
    return dialling.conclude(verdict), theirs, answering.peer


def _conclude_with(dialling: Dialling, answer: bytes) -> None:
    """What the acceptor says reaches the dialler too, with the same meaning."""
    with pytest.raises(Refused):
        dialling.conclude(answer) if dialling._transcript else dialling.prove(answer)


def test_both_sides_come_to_the_same_keys() -> None:
    """One for each direction; the acceptor knows whom it hears."""
    ours, theirs, peer = _shake()
    assert ours == theirs
    assert ours.dialler != ours.acceptor
    assert peer == "a"


def test_without_a_secret_it_works_alike() -> None:
    """On loopback, where none is asked for."""
    assert _shake(replace(A, secret=b""), replace(B, secret=b""))[2] == "a"


@pytest.mark.parametrize(
    ("dialler", "refusal", "says"),
    [
        (replace(A, cluster_id="c2"), Refusal.CLUSTER, "this is cluster c1, not c2"),
        (replace(A, node_id="b"), Refusal.OWN_NAME, "you need a name of your own"),
        (replace(A, node_id="x"), Refusal.UNKNOWN, "node x is not admitted"),
        (replace(A, birth="other"), Refusal.BIRTH, "another data directory"),
        (replace(A, secret=b"guess"), Refusal.SECRET, "do not know the cluster secret"),
    ],
)
def test_the_acceptor_says_why_it_refuses(dialler: Self, refusal: Refusal, says: str) -> None:
    """Each reason is its own, and tells the operator what is wrong."""
    with pytest.raises(Refused, match=says) as caught:
        _shake(dialler)
    assert caught.value.refusal is refusal


def test_the_wrong_node_at_an_address_says_who_it_is() -> None:
    """Two addresses were mixed up."""
    with pytest.raises(Refused, match="this is node b") as caught:
        _shake(wanted="c")
    assert caught.value.refusal is Refusal.ADDRESS


def test_a_removed_node_is_told_so_with_proof() -> None:
    """It may stop for good upon it, so nobody else may be able to say it."""
    removed = Roster({"a": Member("a:1", "birtha", removed=True)})
    dialling = Dialling(A, "b", ROSTER_OF_A, b"1" * 32)
    answering = Answering(B, removed, b"2" * 32)
    proof = dialling.prove(answering.challenge(dialling.hello))
    with pytest.raises(Refused) as at_acceptor:
        answering.conclude(proof)
    with pytest.raises(Refused) as at_dialler:
        dialling.conclude(at_acceptor.value.answer)
    assert at_dialler.value.refusal is Refusal.REMOVED
    assert at_dialler.value.proven


def test_another_version_is_refused_by_name() -> None:
    """Before anything else is looked at."""
    hello = Hello("chronosdb-peer/99", "c1", "a", "b", "birtha", b"1" * 32)
    with pytest.raises(Refused, match="speaks chronosdb-peer/1, you chronosdb-peer/99"):
        Answering(B, ROSTER_OF_B, b"2" * 32).challenge(msgspec.msgpack.encode(hello))


def test_the_dialler_checks_the_acceptor_alike() -> None:
    """A node that lost its disk is sent nothing, so that it cannot be asked for its vote."""
    with pytest.raises(Refused, match="another data directory") as caught:
        _shake(acceptor=replace(B, birth="empty"))
    assert caught.value.refusal is Refusal.BIRTH
    assert not caught.value.proven


def test_an_acceptor_without_the_secret_cannot_give_a_verdict() -> None:
    """It can neither welcome nor expel."""
    dialling = Dialling(A, "b", ROSTER_OF_A, b"1" * 32)
    challenge = msgspec.msgpack.encode(Challenge("birthb", b"2" * 32))
    dialling.prove(challenge)
    for refusal in ("", Refusal.REMOVED):
        verdict = msgspec.msgpack.encode(Verdict(refusal, "", b"0" * 32))
        with pytest.raises(Refused, match="does not know the cluster secret") as caught:
            dialling.conclude(verdict)
        assert not caught.value.proven


def test_anyone_can_say_sorry_but_it_proves_nothing() -> None:
    """Else a stranger at the address could end nodes."""
    dialling = Dialling(A, "b", ROSTER_OF_A, b"1" * 32)
    sorry = msgspec.msgpack.encode(Sorry(Refusal.REMOVED, "go away"))
    with pytest.raises(Refused) as caught:
        dialling.prove(sorry)
    assert not caught.value.proven


def test_a_proof_cannot_be_used_again_or_sent_back() -> None:
    """It is for these nonces, and for the dialler's part only."""
    first = Answering(B, ROSTER_OF_B, b"2" * 32)
    dialling = Dialling(A, "b", ROSTER_OF_A, b"1" * 32)
    proof = dialling.prove(first.challenge(dialling.hello))
    second = Answering(B, ROSTER_OF_B, b"3" * 32)
    second.challenge(dialling.hello)
    with pytest.raises(Refused, match="do not know the cluster secret"):
        second.conclude(proof)
    mac = msgspec.msgpack.decode(proof, type=Proof).mac
    with pytest.raises(Refused, match="does not know the cluster secret"):
        dialling.conclude(msgspec.msgpack.encode(Verdict("", "", mac)))


@given(st.binary(max_size=200))
def test_whatever_a_stranger_sends_is_refused_in_order(data: bytes) -> None:
    """Two exceptions, and no others, come of any bytes at any step."""
    dialling = Dialling(A, "b", ROSTER_OF_A, b"1" * 32)
    answering = Answering(B, ROSTER_OF_B, b"2" * 32)
    for step in (answering.challenge, answering.conclude, dialling.prove, dialling.conclude):
        with pytest.raises((BadFrame, Refused)):
            step(data)
