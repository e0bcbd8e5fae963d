"""The `chronos` command line: topics, publishing, consuming, from a shell.

Errors are one line on stderr. Exit codes: 0 done · 1 error · 2 wrong usage · 3 not found · 4 no node
reached · 5 conflict · 6 try again later · 130 interrupted · 141 the reader of stdout went away.
"""

from __future__ import annotations

from chronosdb.client.cli.app import main

__all__ = ["main"]
