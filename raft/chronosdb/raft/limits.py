"""Every bound of the metadata layer.

They are part of the replicated rules: replicas that disagree on one of them would disagree on a
command's result. Change them only together with the command schema.
"""

from __future__ import annotations

NAME_CHARS_MAX = 249
TOPICS_MAX = 10_000
PARTITIONS_PER_TOPIC_MAX = 1_024
PARTITIONS_MAX = 100_000
GROUPS_MAX = 100_000
NODES_MAX = 1_000
ADDRESS_CHARS_MAX = 255
#: More make commits slower and elections rarer to succeed, and no cluster safer.
VOTERS_MAX = 7
REPLICAS_MAX = 7
#: While a partition moves: those that stay or go, and those that come.
COPIES_MAX = 2 * REPLICAS_MAX
#: Partitions that one command may change: it then fits COMMAND_BYTES_MAX.
PARTITION_CHANGES_MAX = 64
#: Of an ordered group, as far as they own partitions; and what each is called.
MEMBERS_MAX = 1_024
MEMBER_CHARS_MAX = 128
#: What tells one data directory of a node from another of the same name.
BIRTH_CHARS_MAX = 32
SCHEDULES_MAX = 10_000
#: An event's id is the schedule's name, its generation and a time, and must not pass 128 bytes.
SCHEDULE_NAME_CHARS_MAX = 80
#: A payload of 16 KiB and what goes with it.
SCHEDULE_BYTES_MAX = 24 * 1024
#: All of them together are in memory and in every snapshot.
SCHEDULE_BYTES_TOTAL_MAX = 64 * 1024 * 1024
#: Schedules whose progress one command may note: it then fits COMMAND_BYTES_MAX.
SCHEDULE_MARKS_MAX = 256
CLIENT_ID_CHARS_MAX = 128

#: The largest integer that survives a trip through JSON; bounds times, sequences and settings.
INTEGER_MAX = 2**53 - 1

#: Clients whose answers are remembered; the one heard from least recently is forgotten first.
#: A client here is one life of a node, which submits for all its users.
SESSIONS_MAX = 256
#: Answers remembered per client, hence the commands one client may have in flight.
ANSWERS_PER_SESSION_MAX = 256

#: Each command is held in memory, on every disk and in every message: keep them small.
COMMAND_BYTES_MAX = 64 * 1024
#: A command with the library's framing around it; a longer record is damage, not data.
ENTRY_BYTES_MAX = COMMAND_BYTES_MAX + 64
SNAPSHOT_BYTES_MAX = 256 * 1024 * 1024
