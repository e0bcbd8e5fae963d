"""Greeting, liveness, farewell, and the two answers every request may get."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from chronosdb.wire.limits import MAX_CLIENT_NAME_CHARS, MAX_TOKEN_CHARS
from chronosdb.wire.messages.base import Answer, Message, Millis, Reason, RequestId


class Hello(Message, frozen=True, array_like=True, tag=1):
    """First frame of a client. `token` is the credential where one is asked for."""

    version: Annotated[int, Meta(ge=0, lt=2**16)]
    client: Annotated[str, Meta(max_length=MAX_CLIENT_NAME_CHARS)]
    token: Annotated[str, Meta(max_length=MAX_TOKEN_CHARS)] | None = None


class Welcome(Message, frozen=True, array_like=True, tag=2):
    """First frame of a node: who it is, its wall clock, and the largest frame it takes.

    `address` is where clients reach it, as `TopicInfo.leaders` says it; empty: it is all there is.
    """

    version: int
    cluster_id: str
    node_id: str
    server_ms: Millis
    max_frame_bytes: int
    address: str = ""


class Ping(Message, frozen=True, array_like=True, tag=3):
    """Either side may ask whether the other is alive."""

    request: RequestId


class Pong(Answer, frozen=True, array_like=True, tag=4):
    """Answer to Ping, with the answerer's wall clock."""

    server_ms: Millis


class Closing(Message, frozen=True, array_like=True, tag=5):
    """The sender will close the connection; the reason is for people."""

    reason: Reason


class Done(Answer, frozen=True, array_like=True, tag=6):
    """The request succeeded and there is nothing more to say."""


class Failed(Answer, frozen=True, array_like=True, tag=7):
    """The request failed; see `chronosdb.wire.errors` for the codes."""

    code: str
    message: str
    retryable: bool
    details: dict[str, Any]
