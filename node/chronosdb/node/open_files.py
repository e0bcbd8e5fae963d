"""How many files the process may have open: each partition's log is one, each connection another."""

from __future__ import annotations

import logging
import resource

logger = logging.getLogger(__name__)


def raise_limit() -> None:
    """Allow as many as the system lets this user have.

    What shells start with is often 1,024, for the sake of programs that use select(2); a node with as many
    partitions would end for want of a file.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:
        # Some systems say "unlimited" and do not mean it.
        logger.info("at most %d open files: the limit cannot be raised: %s", soft, error)
