"""`berth rollback`: a stack back to a prior successful update, as an update of its own.

The state is never taken back: importing an old checkpoint leaves newer processes running that no
preview shows. What is taken back is the configuration, and on request the program; the engine
then goes there by a normal `up`.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from berth.errors import OperationError
from berth.operations.configuration import ConfigPath, restored
from berth.operations.stack import Stack, Update
from pulumi_berth.files import replace_atomically


def choose(history: Sequence[Update], to: int | None) -> Update:
    """The update to go back to.

    Without `to`: the latest successful update that ran with another configuration than the
    latest successful one; after a failed update, the latest successful one itself; and where
    nothing differs, the latest successful one, which puts back whatever went astray since.

    Raises:
        OperationError: no such update, it did not succeed, or none ever did.
    """
    deployments = [update for update in history if update.kind == "update"]
    good = [update for update in deployments if update.succeeded]
    if not good:
        raise OperationError("no update of this stack has succeeded yet: nothing to go back to")
    if to is not None:
        chosen = [update for update in good if update.number == to]
        if not chosen:
            numbers = ", ".join(str(update.number) for update in good[-10:])
            raise OperationError(
                f"update {to} is not a successful update of this stack; the latest are: {numbers}"
            )
        return chosen[0]
    latest = good[-1]
    if deployments[-1] is not latest:
        return latest
    other = [update for update in good if update.config != latest.config]
    return other[-1] if other else latest


def configuration_of(stack: Stack, update: Update, into: Path) -> Path:
    """The stack's configuration file as of `update`, written under `into`."""
    text = stack.config_file.read_text() if stack.config_file.exists() else ""
    result = restored(text, stack.config(), update.config, update.secrets)
    path = into / stack.config_file.name
    replace_atomically(path, result.text)
    for secret_path, value in result.secrets.items():
        stack.set_secret(_rendered(secret_path), value, config_file=path)
    return path


def rollback(
    stack: Stack,
    update: Update,
    *,
    program: Path | None,
    check: Callable[[Path], None],
    confirm: Callable[[], bool],
) -> int:
    """Show what going back to `update` changes, ask, do it; the engine's exit code.

    On success the stack's configuration file is the one of that update; otherwise the file is
    left as it was, and nothing else is written.

    Args:
        program: the project at another commit, to run instead of the present one.
        check: raises when the configuration file it is given cannot be deployed.
        confirm: asked after the preview.
    """
    with tempfile.TemporaryDirectory(prefix="berth-rollback-") as folder:
        config_file = configuration_of(stack, update, Path(folder))
        check(config_file)
        runner = stack if program is None else at_program(stack, program)
        arguments = ("--config-file", str(config_file))
        code = runner.preview(*arguments)
        if code or not confirm():
            return code
        code = runner.up(
            "--yes",
            "--skip-preview",
            "--message",
            f"rollback to update {update.number}",
            *arguments,
        )
        if code == 0:
            replace_atomically(stack.config_file, config_file.read_bytes(), mode=0o644)
        return code


def at_program(stack: Stack, program: Path) -> Stack:
    """The same stack, run by the program in the folder `program`."""
    environment = {
        **stack.environment,
        # Before the environment's own copy of the project.
        "PYTHONPATH": str(program),
        "BERTH_PROJECT": str(stack.root),
    }
    return replace(stack, root=program, environment=environment)


def program_at(root: Path, commit: str) -> Path:
    """The project as of `commit`, checked out beside the present one, under `.berth/`.

    It stays there: the processes that it starts run from it.

    Raises:
        OperationError: the commit is not in this clone, or it needs other packages than those
            that are installed.
    """
    folder = root / ".berth" / "programs" / commit
    if not (folder / "Pulumi.yaml").exists():
        _git(root, "worktree", "prune")
        _git(root, "worktree", "add", "--force", "--detach", str(folder), commit)
    if (folder / "requirements.txt").read_bytes() != (root / "requirements.txt").read_bytes():
        print(
            f"commit {commit[:12]} pins other packages than those installed; it is run with "
            "the installed ones",
            file=sys.stderr,
        )
    return folder


def program_for(
    root: Path, update: Update, *, with_program: bool, say: Callable[[str], None]
) -> Path | None:
    """The program to go back with: None for the present one, else a checkout of the update's
    commit. Says so when that commit differs from the present one."""
    now = head(root)
    if update.commit is None or update.commit == now:
        if update.dirty:
            say(f"update {update.number} ran with uncommitted changes, which are not recorded")
        return None
    then = update.commit[:12]
    if with_program:
        say(f"running the program of commit {then}, as update {update.number} did")
        return program_at(root, update.commit)
    say(
        f"update {update.number} ran the program of commit {then}, now it is "
        f"{(now or 'none')[:12]}: only the configuration goes back; "
        "--with-program runs that commit too"
    )
    return None


def head(root: Path) -> str | None:
    """The present commit of the project's program; None outside a git checkout."""
    finished = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False
    )
    return finished.stdout.strip() if finished.returncode == 0 else None


def _git(root: Path, *arguments: str) -> None:
    finished = subprocess.run(
        ["git", *arguments],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
    )
    if finished.returncode:
        raise OperationError(f"git {' '.join(arguments[:2])}: {finished.stderr.strip()}")


def _rendered(path: ConfigPath) -> str:
    """A path as `pulumi config --path` reads it: `key.step["step.with.dots"]`."""
    first, *rest = path
    steps = "".join(f'["{step}"]' for step in rest)
    return first + steps
