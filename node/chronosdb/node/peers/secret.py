"""The cluster secret, and when there must be one."""

from __future__ import annotations

from typing import Final

from chronosdb.node.configuration.settings import ConfigError

_SECRET_BYTES_MIN: Final = 16
_LOOPBACK: Final = ("localhost", "::1")
_TOO_SHORT: Final = (
    f"the cluster secret must have {_SECRET_BYTES_MIN} bytes or more: make one with"
    " `openssl rand -hex 32`, the same for all nodes"
)
_WHY: Final = (
    "whoever reaches that port could join and change everything; set the same secret on all nodes,"
    " or listen on 127.0.0.1"
)


def check_secret(host: str, secret: bytes) -> None:
    """Refuse to listen for peers in a way that anyone could pass for one.

    Raises:
        ConfigError: beyond this machine there must be a secret, and not a short one.
    """
    if secret and len(secret) < _SECRET_BYTES_MIN:
        raise ConfigError([_TOO_SHORT])
    if not secret and not (host in _LOOPBACK or host.startswith("127.")):
        raise ConfigError([f"listening for peers on {host} needs a cluster secret: {_WHY}"])
