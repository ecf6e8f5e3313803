"""The ways to an engine, in order."""

from collections.abc import Callable

from infra.engine import on_path
from infra.engine.environment import Engine
from infra.engine.on_path import UnavailableError


class EngineError(RuntimeError):
    """There is no engine; the message says why, and what to install by hand."""


def ensure_engine(say: Callable[[str], None]) -> Engine:
    """A usable engine. `say` is told what is being done when it takes more than a look.

    Raises:
        EngineError: none was found, and none could be made.
    """
    try:
        return on_path.find()
    except UnavailableError as error:
        say(f"engine: {error}")
        raise EngineError(
            f"no engine: {error}\nInstall Pulumi: https://www.pulumi.com/docs/install/"
        ) from None
