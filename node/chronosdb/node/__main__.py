"""`python -m chronosdb.node` is `chronos-node`."""

from __future__ import annotations

from chronosdb.node.main import main

main()
