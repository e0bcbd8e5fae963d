"""A pytest plugin for trials: Hypothesis tells that a check fails, and spends no time on why.

Loaded by `-p` before any test is imported, so that tests with settings of their own inherit it.
"""

from __future__ import annotations

from hypothesis import Phase, settings

settings.register_profile("trial", phases=(Phase.explicit, Phase.generate), database=None)
settings.load_profile("trial")
