"""The ways to an engine, in order."""

from collections.abc import Callable
from functools import partial

from berth.engine import cache, go_build, on_path, release
from berth.engine.environment import Engine
from berth.engine.on_path import UnavailableError


class EngineError(RuntimeError):
    """There is no engine; the message says why, and what to install by hand."""


def ensure_engine(say: Callable[[str], None]) -> Engine:
    """A usable engine: the one on the PATH, or the one kept, or one made now and kept.

    `say` is told what is done whenever that is more than finding the one on the PATH.

    Raises:
        EngineError: none was found, and none could be made.
    """
    reasons: dict[str, str] = {}
    try:
        if found := on_path.find():
            return found
        reasons["on the PATH"] = "there is no pulumi"
    except UnavailableError as error:
        reasons["on the PATH"] = str(error)
        say(f"engine: {error}: not used")
    if kept := cache.find():
        return kept
    try:
        say(f"engine: no pulumi to use; making one in {cache.folder()}")
        with cache.alone(say):
            if kept := cache.find():
                return kept
            for way, make in (("release", release.download), ("build", go_build.build)):
                try:
                    return cache.keep(partial(make, say=say))
                except UnavailableError as error:
                    reasons[way] = str(error)
                    say(f"engine: {error}")
    except OSError as error:
        reasons["making one"] = str(error)
    raise EngineError(_by_hand(reasons))


def _by_hand(reasons: dict[str, str]) -> str:
    why = "\n".join(f"  {way}: {reason}" for way, reason in reasons.items())
    go = ".".join(str(part) for part in go_build.MINIMUM_GO)
    return (
        f"no engine could be found or made:\n{why}\n"
        "Install one by hand, either\n"
        f"  Pulumi {cache.VERSION} (https://www.pulumi.com/docs/install/), its folder on the PATH; "
        "or\n"
        f"  Go {go} or newer (https://go.dev/dl/), which this command then builds the engine with."
    )
