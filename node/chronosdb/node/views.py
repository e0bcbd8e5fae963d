"""The node's view store: opened, and thrown away when it is in doubt.

Views can always be computed from the logs. So the answer to any damage is the same: note the doubt,
stop, and let the next start begin with an empty store.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from chronosdb.node.environment import Environment
from chronosdb.wal import KeyValue, ViewsDamaged
from chronosdb.wal.layout import DataDir

logger = logging.getLogger(__name__)

_DOUBT: Final = ".doubtful"


@contextmanager
def open_views(env: Environment, data_dir: DataDir, write_buffer_bytes: int) -> Iterator[KeyValue]:
    """The store, empty when it was missing, unreadable, or failed in its last life."""
    doubt = data_dir.views + _DOUBT
    if env.disk.exists(doubt):
        logger.warning(
            "the views in %s failed before; they are rebuilt from the logs", data_dir.views
        )
        env.discard_views(data_dir.views)
        env.disk.unlink(doubt)
    views = env.open_views(data_dir.views, write_buffer_bytes)
    try:
        yield views
    except BaseException as error:
        if _is_views_damage(error):
            env.disk.write_file_atomic(doubt, b"")
        raise
    finally:
        views.close()


def _is_views_damage(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(map(_is_views_damage, error.exceptions))
    return isinstance(error, ViewsDamaged)
