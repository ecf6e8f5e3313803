"""Whether an engine can hold a stack against a policy pack in Python."""

import shutil
from pathlib import Path

from infra.engine.environment import PROGRAMS

# By this message of its protocol the engine tells a language host a stack's configuration for a
# pack. Whether a host knows it cannot be asked; that it does stands in the program.
_MESSAGE = b"AnalyzerStackConfigure"


def runs_policy_packs(search_path: str) -> bool:
    """Whether the language host on `search_path` does. The one that Berth builds with Go does not:
    no newer host is published as a Go package."""
    host = shutil.which(PROGRAMS[1], path=search_path)
    return host is not None and _MESSAGE in Path(host).read_bytes()
