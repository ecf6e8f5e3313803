"""Find an engine, or install one."""

from collections.abc import Callable
from functools import partial

from berth.engine.cache import find_cached, install_engine, lock_cache
from berth.engine.environment import (
    VERSION,
    Engine,
    EngineError,
    UnavailableError,
)
from berth.engine.installed import find_installed
from pulumi_berth.files import cache_directory


def ensure_engine(say: Callable[[str], None]) -> Engine:
    """Return the engine on the PATH, else the cached one, else install one in the cache.

    Args:
        say: Receives progress messages. It is not called if the engine on the PATH is used.

    Raises:
        EngineError: If no engine was found and none could be installed.
    """
    reasons: dict[str, str] = {}
    try:
        if engine := find_installed():
            return engine
        reasons["PATH"] = "pulumi is not installed"
    except UnavailableError as error:
        reasons["PATH"] = str(error)
        say(f"engine: ignoring the one on the PATH: {error}")
    try:
        if engine := find_cached():
            return engine
        # Only needed for an installation, and slow to import.
        from berth.engine import go_build, release

        say(f"engine: no usable pulumi found; installing one in {cache_directory()}")
        with lock_cache(say):
            if engine := find_cached():
                return engine
            for source, install in (("release", release.download), ("build", go_build.build)):
                try:
                    return install_engine(partial(install, say=say))
                except UnavailableError as error:
                    reasons[source] = str(error)
                    say(f"engine: {error}")
    except OSError as error:
        reasons["cache"] = str(error)
    raise EngineError(_explain(reasons))


def _explain(reasons: dict[str, str]) -> str:
    from berth.engine.go_build import MINIMUM_GO

    go = ".".join(str(part) for part in MINIMUM_GO)
    lines = "\n".join(f"  {source}: {reason}" for source, reason in reasons.items())
    return (
        f"No Pulumi engine was found, and installing one failed:\n{lines}\n"
        f"Install Pulumi {VERSION} (https://www.pulumi.com/docs/install/) and add its directory "
        f"to the PATH,\nor install Go {go} or newer (https://go.dev/dl/) and run the command "
        "again, which then builds the engine."
    )
