"""One run of the `pulumi` command for a stack."""

import contextlib
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from berth.errors import OperationError
from berth.operations.engine_lock import forget_process, record_process
from berth.operations.engine_output import clean_lines
from berth.operations.update_watch import FindHopeless, UpdateWatch


@dataclass(frozen=True)
class Engine:
    """The `pulumi` command for one stack.

    Attributes:
        root: The project's directory.
        stack: The stack's name.
        directory: Directory of the program.
        environment: Environment variables of the engine.
        sink: Gets Pulumi's progress. A terminal gets the engine's own display, and anything else
            lines without repetitions.
        find_hopeless: Called every few seconds during an update; see `update_watch`.
    """

    root: Path
    stack: str
    directory: Path
    environment: Mapping[str, str]
    sink: IO[str]
    find_hopeless: FindHopeless | None

    def run(self, arguments: Sequence[str]) -> tuple[int, str]:
        """Run the engine with its progress, and return its exit status and stderr."""
        process = subprocess.Popen(
            ["pulumi", *arguments, "--stack", self.stack],
            cwd=self.directory,
            env=dict(self.environment),
            stdout=self.sink if self.sink.isatty() else subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        record_process(self.root, self.stack, process.pid)
        with process:
            assert process.stderr is not None
            printing = threading.Thread(target=_print_clean, args=(process.stdout, self.sink))
            printing.start()
            try:
                with self._watch(process, arguments[0]):
                    errors = _tee(process.stderr, sys.stderr)
            except KeyboardInterrupt:
                # Pulumi received the same signal. It finishes the current step and records it.
                errors = _tee(process.stderr, sys.stderr)
            printing.join()
        if process.returncode >= 0:
            # An engine that was killed leaves its lock, and the record shows that it ended.
            forget_process(self.root, self.stack, process.pid)
        return process.returncode, errors

    def _watch(
        self, process: "subprocess.Popen[str]", operation: str
    ) -> contextlib.AbstractContextManager[object]:
        if self.find_hopeless is None or operation != "up":
            return contextlib.nullcontext()
        return UpdateWatch(process, self.find_hopeless)

    def capture(
        self, seconds: float | None, arguments: Sequence[str], *, stdin: str = ""
    ) -> tuple[int, str]:
        """Run the engine and return its exit status and output.

        Args:
            seconds: Time limit. None for an operation whose resources have limits of their own.
        """
        try:
            result = subprocess.run(
                ["pulumi", *arguments],
                cwd=self.directory,
                env=dict(self.environment),
                input=stdin,
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise OperationError(
                f"'pulumi {' '.join(arguments[:2])}' did not finish within {seconds:g} s. Check "
                "that the backend of the state responds; 'pulumi whoami -v' names it."
            ) from error
        if "incorrect passphrase" in result.stderr:
            raise OperationError(
                f"The secrets of stack '{self.stack}' (Pulumi.{self.stack}.yaml or its state) are "
                "encrypted with another passphrase. Set it in PULUMI_CONFIG_PASSPHRASE or write "
                "it to .berth/passphrase."
            )
        if result.returncode and not result.stdout:
            raise OperationError(
                f"'pulumi {' '.join(arguments[:2])}' failed: {result.stderr.strip()}"
            )
        return result.returncode, result.stdout


def _print_clean(source: IO[str] | None, sink: IO[str]) -> None:
    lines = source or ()
    with contextlib.suppress(OSError):
        for line in clean_lines(lines):
            sink.write(line)
            sink.flush()
    # If the reader of the output has ended, the engine must not wait for it.
    for _ in lines:
        pass


def _tee(source: IO[str], sink: IO[str]) -> str:
    lines = []
    for line in source:
        sink.write(line)
        sink.flush()
        lines.append(line)
    return "".join(lines)
