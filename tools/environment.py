"""Make or update `.venv`: `environment.py ROOT NEEDS`, as `berth` calls it. Standard library only.

NEEDS names the requirements file, without its suffix, that must be installed when this returns.
What was installed is written to `.venv/installed/NEEDS`: a later change of any of it reinstalls.
"""

import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

BASE = "requirements"
# Each set holds those before it.
SETS = (BASE, "requirements-package", "requirements-dev")

_PROGRESS_SECONDS = 5
_LINES_SHOWN_ON_FAILURE = 12
_ABOUT_A_PACKAGE = ("Collecting ", "Requirement already satisfied: ", "Obtaining ")


class SetupError(RuntimeError):
    """The environment could not be made; the message says why and what to do."""


def say(message: str) -> None:
    print(f"berth: {message}", file=sys.stderr, flush=True)


def stamp_text(root: Path, needs: str) -> str:
    """All that decides what an installed set is. The `berth` script compares the same text."""
    names = ("pyproject.toml", f"{BASE}.txt", f"{needs}.txt")
    return f"{root}\n" + "".join((root / name).read_text(encoding="utf-8") for name in names)


def ensure(root: Path, needs: str) -> None:
    """Make `.venv` of `root` hold the set `needs`, alone with it while that takes.

    Raises:
        SetupError: the environment could not be made, or its packages not be installed.
    """
    installed = root / ".venv" / "installed"
    own = root / ".berth"
    own.mkdir(mode=0o700, exist_ok=True)
    unfinished = own / "environment.unfinished"
    with _lock(own / "environment.lock"):
        stamp = installed / needs
        python = root / ".venv" / "bin" / "python"
        if (
            not unfinished.exists()
            and _runs(python)
            and stamp.is_file()
            and stamp.read_text(encoding="utf-8") == stamp_text(root, needs)
        ):
            return  # another first run has just done it
        started = time.monotonic()
        if unfinished.exists() or not _runs(python):
            _make(root, anew=unfinished.exists(), mark=unfinished.touch)
        unfinished.touch()
        for name in SETS:
            (installed / name).unlink(missing_ok=True)
        included = SETS[: SETS.index(needs) + 1]
        try:
            _install(root, python, list(dict.fromkeys((BASE, needs))))
        except SetupError:
            # pip itself failed, and puts back what it had changed: nothing is half done.
            unfinished.unlink()
            raise
        installed.mkdir(exist_ok=True)
        for name in included:
            if (root / f"{name}.txt").is_file():
                (installed / name).write_text(stamp_text(root, name), encoding="utf-8")
        unfinished.unlink()
        say(f"the environment in .venv is ready ({time.monotonic() - started:.0f} s)")


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold `path` alone. The kernel gives it back when its holder ends, however it ends."""
    with path.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another berth is making the environment; waiting for it")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _runs(python: Path) -> bool:
    """Whether the environment's interpreter starts and has pip."""
    try:
        tried = subprocess.run([python, "-c", "import pip"], capture_output=True, check=False)
    except OSError:
        return False
    return tried.returncode == 0


def _make(root: Path, *, anew: bool, mark: Callable[[], None]) -> None:
    version = ".".join(str(part) for part in sys.version_info[:2])
    why = ", since an earlier run was interrupted" if anew else ""
    say(f"making a Python {version} environment in .venv{why}")
    mark()
    made = subprocess.run(
        [sys.executable, "-m", "venv", "--clear", root / ".venv"],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        raise SetupError(
            f"`{sys.executable} -m venv` failed:\n{_end_of(made.stdout + made.stderr)}\n"
            "On Debian and Ubuntu the package python3-venv has what it needs."
        )


def _install(root: Path, python: Path, names: list[str]) -> None:
    files = [f"{name}.txt" for name in names]
    say(f"installing {' and '.join(files)}")
    command: list[str | Path] = [python, "-m", "pip", "install", "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar", "off"]
    for file in files:
        command += ["-r", file]
    lines: list[str] = []
    pip = subprocess.Popen(
        command,
        cwd=root,  # `-e .` means the project
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with pip, _progress(lines):
        assert pip.stdout is not None
        lines.extend(pip.stdout)
    if pip.returncode:
        raise SetupError(
            f"pip could not install {' and '.join(files)}:\n{_end_of(''.join(lines))}\n"
            "Nothing was changed; run the same command again once that is put right "
            "(pip's own settings, such as PIP_INDEX_URL, are respected)."
        )


@contextmanager
def _progress(lines: list[str]) -> Iterator[None]:
    """Say how far pip is, from what it printed, every few seconds while the block runs."""
    done = threading.Event()
    started = time.monotonic()

    def tell() -> None:
        while not done.wait(_PROGRESS_SECONDS):
            seen = list(lines)
            settled = sum(line.startswith(_ABOUT_A_PACKAGE) for line in seen)
            writing = any(line.startswith("Installing collected packages") for line in seen)
            state = "writing the new ones" if writing else "looked at"
            say(f"  {settled} packages, {state} ({time.monotonic() - started:.0f} s)")

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _end_of(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.strip().splitlines()[-_LINES_SHOWN_ON_FAILURE:])


def main() -> int:
    root, needs = sys.argv[1:]
    os.umask(os.umask(0o077) | 0o022)  # an environment that others may write would run their code
    try:
        ensure(Path(root), needs)
    except SetupError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("interrupted; the next run makes the environment anew")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
