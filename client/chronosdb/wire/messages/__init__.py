"""Every message of the protocol: one frozen struct each, its tag the first element on the wire.

A message is a msgpack array `[tag, field, …]` in the order of the fields here. Decoding is typed: a
hostile frame can make the decoder build nothing but these. Columns travel as `bin`, little-endian.
Requests carry `request`, a number the client chooses; exactly one reply carries it back.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

from chronosdb.wire.messages.base import (
    Count,
    Credits,
    Key,
    Message,
    Millis,
    Name,
    PartitionId,
    Reason,
    RequestId,
    SubscriptionId,
)
from chronosdb.wire.messages.connection import Closing, Done, Failed, Hello, Ping, Pong, Welcome
from chronosdb.wire.messages.consuming import (
    Ack,
    Credit,
    Deliver,
    Extend,
    Nack,
    Subscribe,
    Unsubscribe,
)
from chronosdb.wire.messages.events import Get, GetReply, Publish, Published
from chronosdb.wire.messages.topics import (
    CreateTopic,
    DescribeTopic,
    ListTopics,
    TopicInfo,
    TopicReply,
    TopicsReply,
)

ClientMessage: TypeAlias = (
    Hello
    | Ping
    | Pong
    | Closing
    | CreateTopic
    | DescribeTopic
    | ListTopics
    | Publish
    | Get
    | Subscribe
    | Unsubscribe
    | Credit
    | Ack
    | Nack
    | Extend
)
ServerMessage: TypeAlias = (
    Welcome
    | Ping
    | Pong
    | Closing
    | Done
    | Failed
    | TopicReply
    | TopicsReply
    | Published
    | GetReply
    | Deliver
)

#: Tags of the messages that may be as large as a frame may be: those with columns, and the list of all
#: topics, which only a client decodes.
LARGE_TAGS: Final = frozenset({14, 20, 21, 23, 33, 34})

encode = msgspec.msgpack.Encoder().encode
decode_from_client = msgspec.msgpack.Decoder(ClientMessage).decode
decode_from_server = msgspec.msgpack.Decoder(ServerMessage).decode

__all__ = [
    "LARGE_TAGS",
    "Ack",
    "ClientMessage",
    "Closing",
    "Count",
    "CreateTopic",
    "Credit",
    "Credits",
    "Deliver",
    "DescribeTopic",
    "Done",
    "Extend",
    "Failed",
    "Get",
    "GetReply",
    "Hello",
    "Key",
    "ListTopics",
    "Message",
    "Millis",
    "Nack",
    "Name",
    "PartitionId",
    "Ping",
    "Pong",
    "Publish",
    "Published",
    "Reason",
    "RequestId",
    "ServerMessage",
    "Subscribe",
    "SubscriptionId",
    "TopicInfo",
    "TopicReply",
    "TopicsReply",
    "Unsubscribe",
    "Welcome",
    "decode_from_client",
    "decode_from_server",
    "encode",
]
