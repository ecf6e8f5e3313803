"""Files that several processes share: atomic replacement, locks and the user's cache."""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path


@contextlib.contextmanager
def open_replacement(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that replaces `path` if the block succeeds.

    A reader sees the old file or the complete new file. If the block fails, `path` is unchanged.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def replace_atomically(path: Path, content: str | bytes, mode: int = 0o600) -> None:
    """Write `content` to `path` durably. A reader sees the old file or the complete new file."""
    data = content.encode() if isinstance(content, str) else content
    with open_replacement(path) as temporary:
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(mode)


@contextlib.contextmanager
def acquire_lock(path: Path, *, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold an exclusive lock on the file `path` during the block.

    The kernel releases the lock when its holder exits, for any reason.

    Args:
        on_wait: Called once if another thread or process holds the lock.
    """
    with path.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if on_wait is not None:
                on_wait()
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def cache_directory(*parts: str) -> Path:
    """Create and return a directory in Berth's cache, `$XDG_CACHE_HOME/berth` by default.

    Berth recreates everything in the cache, so users can delete it at any time.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    home = base if base.is_absolute() else Path.home() / ".cache"
    directory = home.joinpath("berth", *parts)
    directory.mkdir(parents=True, exist_ok=True)
    return directory
