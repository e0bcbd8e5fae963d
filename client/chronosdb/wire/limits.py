"""Every bound of the protocol, in one place. Both sides enforce them; `docs/protocol.md` lists them."""

from __future__ import annotations

from typing import Final

PROTOCOL_VERSION: Final = 1

#: One frame, without its four length bytes.
MAX_FRAME_BYTES: Final = 16 * 1024 * 1024
#: Until the handshake is done a stranger may make us hold no more than this.
MAX_HANDSHAKE_FRAME_BYTES: Final = 4 * 1024
#: Messages that carry no columns. Small, so that decoding a hostile map or list stays cheap.
MAX_CONTROL_FRAME_BYTES: Final = 64 * 1024

MAX_PAYLOAD_BYTES: Final = 4 * 1024 * 1024
MAX_MESSAGE_ID_BYTES: Final = 128
MAX_KEY_BYTES: Final = 1024
MAX_META_BYTES: Final = 64 * 1024
MAX_BATCH_EVENTS: Final = 65_536

#: Topic and group names: letters, digits, dot, underscore, hyphen; not "." or "..".
MAX_NAME_CHARS: Final = 249
#: `\Z`, not `$`: the latter would let a newline end a name.
NAME_PATTERN: Final = r"^(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,249}\Z"

MAX_CLIENT_NAME_CHARS: Final = 128
MAX_TOKEN_CHARS: Final = 1024
MAX_PARTITIONS_PER_TOPIC: Final = 1024
MAX_CREDITS: Final = 1_000_000
#: The name under which a member subscribes at several nodes.
MAX_MEMBER_CHARS: Final = 128
#: Rows in one page of pending events.
MAX_PAGE_ROWS: Final = 10_000
#: Streams of replays open on one connection, and the bytes that one may be sent unasked for more.
MAX_REPLAYS: Final = 64
MAX_REPLAY_BYTES: Final = 16 * 1024 * 1024
MAX_ACK_RUNS: Final = 16_384
MAX_REASON_CHARS: Final = 1024
MAX_EXTEND_MS: Final = 12 * 60 * 60 * 1000
MAX_DELAY_MS: Final = 366 * 24 * 60 * 60 * 1000

#: An event's id is made of the schedule's name, and must stay within MAX_MESSAGE_ID_BYTES.
MAX_SCHEDULE_NAME_CHARS: Final = 80
MAX_SCHEDULE_PAYLOAD_BYTES: Final = 16 * 1024
MAX_SCHEDULE_META_BYTES: Final = 4 * 1024
MAX_CRON_CHARS: Final = 256
MAX_PREVIEW: Final = 1000

#: Where a node is, and copies of a partition.
MAX_ADDRESS_CHARS: Final = 255
MAX_REPLICATION: Final = 7

#: Times are signed 64-bit milliseconds since the epoch, UTC. The smallest value is the word "now".
MIN_TIME_MS: Final = -(2**63) + 1
MAX_TIME_MS: Final = 2**62
