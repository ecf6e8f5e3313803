"""The engine built from source: Go downloads and compiles the modules that this package pins."""

import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from berth.engine.environment import VERSION, UnavailableError

# From this version on, an older Go downloads the release that go.mod requires.
MINIMUM_GO = (1, 21)

_SOURCES = Path(str(files("berth.engine")))
_SDK = "github.com/pulumi/pulumi/sdk/v3"
_VERSION_VARIABLE = f"{_SDK}/go/common/version.Version"
_SCRIPTS = ("python/cmd/pulumi-language-python-exec", "python/dist/pulumi-resource-pulumi-python")
_GO_VERSION = re.compile(r"\bgo(\d+)\.(\d+)")
_GO_SECONDS = 600.0
_PROGRESS_SECONDS = 10
_LINES_SHOWN_ON_FAILURE = 8


def build(destination: Path, say: Callable[[str], None]) -> None:
    """Build the engine and its Python host into `destination`.

    Raises:
        UnavailableError: If Go is missing or too old, or the build fails.
    """
    go = _find_go()
    started = time.monotonic()
    say(f"engine: building Pulumi {VERSION} with {go}: about 3 minutes on 4 cores")
    _compile(
        *(go, "cli", "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"),
        *(destination / "pulumi", f"-s -w -X {_VERSION_VARIABLE}={VERSION}", say),
    )
    # This is the last Python host that is published as a Go package. The newer engine runs it.
    _compile(
        *(go, "python-host", f"{_SDK}/python/cmd/pulumi-language-python"),
        *(destination / "pulumi-language-python", "-s -w", say),
    )
    sdk = Path(_run_go(go, "list", "-m", "-f", "{{.Dir}}", _SDK))
    for script in _SCRIPTS:
        copied = destination / Path(script).name
        shutil.copyfile(sdk / script, copied)
        copied.chmod(0o755)
    say(f"engine: built in {time.monotonic() - started:.0f} s")


def _find_go() -> str:
    go = shutil.which("go")
    if go is None:
        raise UnavailableError("go is not on the PATH")
    text = _run_go(go, "version", GOTOOLCHAIN="local")
    version = _GO_VERSION.search(text)
    if version is None or (int(version[1]), int(version[2])) < MINIMUM_GO:
        needed = ".".join(str(part) for part in MINIMUM_GO)
        raise UnavailableError(f"{go} is {text!r}; Go {needed} or newer is required")
    return go


def _compile(
    go: str, module: str, package: str, target: Path, flags: str, say: Callable[[str], None]
) -> None:
    """Build `package` in the directory `module`. Go uses only modules that its go.sum pins."""
    lines: list[str] = []
    say(f"engine: {target.name}")
    process = subprocess.Popen(
        [
            *(go, "build", "-v", "-trimpath", "-mod=readonly", "-ldflags", flags),
            *("-o", target, package),
        ],
        cwd=_SOURCES / module,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process, _progress(lines, say):
        assert process.stdout is not None
        lines.extend(process.stdout)
    if process.returncode:
        end = "".join(lines[-_LINES_SHOWN_ON_FAILURE:]).strip() or "(no output)"
        raise UnavailableError(
            f"'go build {package}' exited with status {process.returncode}:\n{end}"
        )


@contextmanager
def _progress(lines: list[str], say: Callable[[str], None]) -> Iterator[None]:
    """Report the progress of Go every few seconds while the block runs."""
    done = threading.Event()
    started = time.monotonic()

    def report() -> None:
        while not done.wait(_PROGRESS_SECONDS):
            snapshot = list(lines)
            downloaded = sum(line.startswith("go: downloading ") for line in snapshot)
            compiled = sum(not line.startswith("go: ") for line in snapshot)
            say(
                f"engine:   {downloaded} modules downloaded, {compiled} packages compiled "
                f"({time.monotonic() - started:.0f} s)"
            )

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _run_go(go: str, *arguments: str, **settings: str) -> str:
    try:
        result = subprocess.run(
            [go, *arguments],
            cwd=_SOURCES / "cli",
            env=_environment() | settings,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_GO_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"{go} does not run: {error}") from None
    if result.returncode:
        raise UnavailableError(f"'go {' '.join(arguments)}' failed: {result.stderr.strip()[-300:]}")
    return result.stdout.strip()


def _environment() -> dict[str, str]:
    """Return the user's Go settings without those that would build for another machine."""
    kept = {key: value for key, value in os.environ.items() if key not in ("GOOS", "GOARCH")}
    return kept | {"CGO_ENABLED": "0", "GOWORK": "off"}
