"""Create or update `.venv`: `environment.py ROOT LOCK`, as the `berth` script calls it.

LOCK names the lock file, without its suffix, whose packages must be installed when this returns.
`.venv/installed/LOCK` records what was installed: a later change of it reinstalls. Uses only the
standard library, because it runs before anything is installed.
"""

import ast
import fcntl
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# Each lock file contains the packages of those before it.
LOCKS = ("requirements", "requirements-package", "requirements-dev")

_PROGRESS_SECONDS = 5
_LINES_SHOWN_ON_FAILURE = 12
_PIP = ("-m", "pip", "install", "--no-input", "--disable-pip-version-check")
_UV_OPTIONS = {
    "index-url": "--index-url",
    "extra-index-url": "--extra-index-url",
    "find-links": "--find-links",
    "cert": "--cert",
    "trusted-host": "--allow-insecure-host",
}
"""Options of uv with the meaning of pip's settings."""
_FETCHED = ("Collecting ", "Requirement already satisfied: ", "Obtaining ", " Downloaded ")


class SetupError(RuntimeError):
    """The environment could not be created; the message states the reason and the fix."""


def report(message: str) -> None:
    """Print progress to stderr."""
    print(f"berth: {message}", file=sys.stderr, flush=True)


def build_stamp(root: Path, lock: str) -> str:
    """Return everything that determines an installation. The `berth` script compares it."""
    names = ("pyproject.toml", "requirements.txt", f"{lock}.lock")
    return f"{root}\n" + "".join((root / name).read_text(encoding="utf-8") for name in names)


def ensure(root: Path, lock: str) -> None:
    """Install the packages of `lock` and the project itself into `.venv` of `root`.

    Raises:
        SetupError: If the environment cannot be created or a package cannot be installed.
    """
    installed = root / ".venv" / "installed"
    own = root / ".berth"
    own.mkdir(mode=0o700, exist_ok=True)
    unfinished = own / "environment.unfinished"
    with _acquire_lock(own / "environment.lock"):
        stamp = installed / lock
        python = root / ".venv" / "bin" / "python"
        if (
            not unfinished.exists()
            and _is_usable(python)
            and stamp.is_file()
            and stamp.read_text(encoding="utf-8") == build_stamp(root, lock)
        ):
            return  # Another first run has installed it in the meantime.
        started = time.monotonic()
        if unfinished.exists() or not _is_usable(python):
            _create(root, interrupted=unfinished.exists(), mark=unfinished.touch)
        unfinished.touch()
        for name in LOCKS:
            (installed / name).unlink(missing_ok=True)
        try:
            _install(root, python, lock)
        except SetupError:
            # pip restores what it changed when it fails, so the environment is not half installed.
            unfinished.unlink()
            raise
        installed.mkdir(exist_ok=True)
        for name in LOCKS[: LOCKS.index(lock) + 1]:
            if (root / f"{name}.lock").is_file():
                (installed / name).write_text(build_stamp(root, name), encoding="utf-8")
        unfinished.unlink()
        report(f"the environment in .venv is ready ({time.monotonic() - started:.0f} s)")


@contextmanager
def _acquire_lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on `path`. The kernel releases it when this process ends."""
    with path.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("another berth command is creating the environment; waiting for it")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _is_usable(python: Path) -> bool:
    """Return whether the environment's interpreter starts and has pip."""
    try:
        finished = subprocess.run([python, "-c", "import pip"], capture_output=True, check=False)
    except OSError:
        return False
    return finished.returncode == 0


def _create(root: Path, *, interrupted: bool, mark: Callable[[], None]) -> None:
    version = ".".join(str(part) for part in sys.version_info[:2])
    reason = " again, because an earlier run was interrupted" if interrupted else ""
    report(f"creating a Python {version} environment in .venv{reason}")
    mark()
    finished = subprocess.run(
        [sys.executable, "-m", "venv", "--clear", root / ".venv"],
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode:
        raise SetupError(
            f"'{sys.executable} -m venv' failed:\n{_tail(finished.stdout + finished.stderr)}\n"
            "On Debian and Ubuntu, install the package python3-venv."
        )


def _install(root: Path, python: Path, lock: str) -> None:
    """Install the locked packages, then the project, editable.

    uv installs the packages of requirements-dev.lock in 13 s, pip in 55 s (pip 23.2, two CPUs). pip
    repeats what fails with uv, because it knows settings that uv does not, such as keyrings.
    """
    report(f"installing the packages of {lock}.lock")
    packages: list[list[str | Path]] = [["--require-hashes", "-r", f"{lock}.lock"], ["-e", "."]]
    if uv := _find_uv(root, python):
        common = [uv, "pip", "install", "--python", python, *_translate_pip_settings(python)]
        # The locked hashes decide which file is right, whichever index has it.
        common += ["--no-config", "--no-progress", "--index-strategy=unsafe-best-match"]
        if not any(_run(root, [*common, "--no-deps", *each])[0] for each in packages):
            return
    # Compiling all modules ahead would take most of the time of pip, and Python compiles a module
    # at its first import.
    common = [python, *_PIP, "--no-compile", "--progress-bar", "off"]
    for each in packages:
        code, output = _run(root, [*common, "--no-deps", *each])
        if code:
            raise SetupError(
                f"pip could not install the packages of {lock}.lock:\n{_tail(output)}\n"
                "Nothing was changed. Fix the cause and run the same command again "
                "(pip's own settings, such as PIP_INDEX_URL, apply)."
            )


def _find_uv(root: Path, python: Path) -> str | Path | None:
    """Return uv from the PATH, or install it into the environment. None if that fails."""
    own = python.with_name("uv")
    if found := shutil.which("uv"):
        return found
    requirements = root / "tools" / "requirements-uv.txt"
    if requirements.is_file() and not own.is_file():
        _run(root, [python, *_PIP, "--require-hashes", "-r", requirements])
    return own if own.is_file() else None


def _translate_pip_settings(python: Path) -> list[str]:
    """Return options of uv with the effect of pip's files and variables, such as PIP_INDEX_URL."""
    command: list[str | Path] = [python, "-m", "pip", "config", "list"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    values: dict[str, str] = {}
    for section in ("global.", "install.", ":env:."):  # A later one has precedence.
        for line in finished.stdout.splitlines():
            key, is_setting, value = line.partition("=")
            if is_setting and key.startswith(section):
                values[key.removeprefix(section)] = str(ast.literal_eval(value))
    options = [
        f"{_UV_OPTIONS[key]}={item}"
        for key, value in values.items()
        if key in _UV_OPTIONS
        for item in value.split()
    ]
    if values.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        options.append("--no-index")
    return options


def _run(root: Path, command: list[str | Path]) -> tuple[int, str]:
    """Run pip or uv. Return its exit code and its output."""
    lines: list[str] = []
    process = subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    with process, _report_progress(lines):
        assert process.stdout is not None
        lines.extend(process.stdout)
    return process.returncode, "".join(lines)


@contextmanager
def _report_progress(lines: list[str]) -> Iterator[None]:
    """Report the progress, counted in the output, every few seconds while the block runs."""
    done = threading.Event()
    started = time.monotonic()

    def run() -> None:
        while not done.wait(_PROGRESS_SECONDS):
            seen = list(lines)
            fetched = sum(line.startswith(_FETCHED) for line in seen)
            is_writing = any(line.startswith("Installing collected packages") for line in seen)
            step = "installing" if is_writing else "downloading"
            what = f"{step}: {fetched} packages" if fetched else "working"
            report(f"  {what} ({time.monotonic() - started:.0f} s)")

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _tail(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.strip().splitlines()[-_LINES_SHOWN_ON_FAILURE:])


def main() -> int:
    """Run the script; return its exit code."""
    root, lock = sys.argv[1:]
    # Other users must not be able to write the code that this environment runs.
    os.umask(os.umask(0o077) | 0o022)
    try:
        ensure(Path(root), lock)
    except SetupError as error:
        report(str(error))
        return 1
    except KeyboardInterrupt:
        report("interrupted; the next run creates the environment again")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
