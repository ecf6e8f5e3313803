"""`berth rollback`: an update that returns a stack to an earlier successful update.

The state itself is never restored: importing an old checkpoint would leave newer processes
running that no preview shows. Berth restores the configuration, and on request the program, and
the engine applies them with a normal `up`.
"""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from berth.errors import OperationError
from berth.operations.configuration import ConfigPath, restore_config
from berth.operations.history import Change, compare_configurations
from berth.operations.rollback_keys import describe_kept_keys, keep_credentials
from berth.operations.rollback_signatures import (
    SignatureRequirement,
    apply_requirement,
    describe_requirement,
)
from berth.operations.stack import Stack
from berth.operations.stack_config import remove_unused_salt
from berth.operations.update import Update
from berth.project import PROJECT_FILE
from berth.spec import SpecError
from pulumi_berth.files import replace_atomically

# Directories of a checkout of Berth's own repository that contain its import packages.
_PACKAGE_DIRECTORIES = (
    *("infra", "components", "protocol", "serving_app"),
    *("gateway_app", "data_app", "policy"),
)
_UPDATES_LISTED = 10
_NOT_CHECKED = (
    "Its images and datasets were not checked: the backend has no state of that update that Berth "
    "can read."
)
_DECLINED = 1
# https://www.pulumi.com/docs/insights/policy/configuration/: the level of all rules of a pack.
_REPORT_ONLY = '{"all": "advisory"}'
# A checkout of a large repository; nothing is downloaded.
_GIT_SECONDS = 300.0


def choose_update(history: Sequence[Update], number: int | None) -> Update:
    """Return the update to roll back to.

    Without `number` it is the latest successful update with another configuration than the most
    recent successful one. After a failed update it is the most recent successful one, and also if
    no configuration differs: the rollback then only repairs the resources.

    Raises:
        OperationError: If there is no such update, or it did not succeed.
    """
    deployments = [update for update in history if update.kind == "update"]
    succeeded = [update for update in deployments if update.succeeded]
    if not succeeded:
        raise OperationError("No update of this stack has succeeded, so it cannot be rolled back.")
    if number is not None:
        for update in succeeded:
            if update.number == number:
                return update
        numbers = ", ".join(str(update.number) for update in succeeded[-_UPDATES_LISTED:])
        raise OperationError(
            f"Update {number} is not a successful update of this stack. Choose one with --to. "
            f"Latest successful updates: {numbers}."
        )
    latest = succeeded[-1]
    if deployments[-1] is not latest:
        return latest
    other = [update for update in succeeded if update.config != latest.config]
    return other[-1] if other else latest


def plan_configuration(
    current: Mapping[str, Any], update: Update, signatures: SignatureRequirement
) -> dict[str, Any]:
    """Return the configuration of `update` with what a rollback keeps: keys and signatures."""
    return apply_requirement(keep_credentials(current, update), signatures)


@contextmanager
def write_config_of(
    stack: Stack, update: Update, current: Mapping[str, Any], signatures: SignatureRequirement
) -> Iterator[Path]:
    """Write the stack's configuration file as of `update` into a directory, and remove it later.

    Args:
        current: The stack's configuration with secrets in plaintext.
        signatures: The signatures that the rollback requires.
    """
    text = stack.engine_config_file().read_text()
    target = plan_configuration(current, update, signatures)
    restored = restore_config(text, current, target, update.secrets)
    with tempfile.TemporaryDirectory(prefix="berth-rollback-") as directory:
        path = Path(directory) / stack.config_file.name
        replace_atomically(path, restored.text)
        for secret_path, value in restored.secrets.items():
            stack.set_secret(_format_path(secret_path), value, config_file=path)
        yield path


def find_latest(history: Sequence[Update]) -> Update | None:
    """Return the latest successful update, or None."""
    succeeded = [update for update in history if update.kind == "update" and update.succeeded]
    return succeeded[-1] if succeeded else None


@dataclass(frozen=True, kw_only=True)
class RollbackReport:
    """What a rollback would do.

    Attributes:
        number: The update that it returns to.
        changes: Values of the configuration that it changes, from now to then.
        kept: What stays as it is now, one line each.
        obstacles: What it would be refused for, one line each.
        missing: What the release ran and what no longer exists. None if the backend has no copy of
            the state after the update, so that it is unknown what the release ran.
    """

    number: int
    changes: tuple[Change, ...]
    kept: tuple[str, ...]
    obstacles: tuple[str, ...]
    missing: tuple[str, ...] | None

    @property
    def is_possible(self) -> bool:
        """Whether nothing refuses it and nothing is missing."""
        return not (self.obstacles or self.missing)


def inspect_rollback(
    stack: Stack,
    update: Update,
    current: Mapping[str, Any],
    *,
    secret_keys: frozenset[str],
    signatures: SignatureRequirement,
    check: Callable[[Path], object],
    find_missing: Callable[[Update], Sequence[str] | None],
) -> RollbackReport:
    """Return what a rollback to `update` would do, without changing anything.

    Args:
        current: The stack's configuration with secrets in plaintext.
        secret_keys: The keys of `current` that contain a secret.
        signatures: The signatures that the rollback requires.
        check: Raises if the configuration file in its argument cannot be deployed.
        find_missing: Returns what a release needs and what is missing; see `RollbackReport`.
    """
    obstacles: Sequence[str] = ()
    try:
        with write_config_of(stack, update, current, signatures) as config_file:
            check(config_file)
    except SpecError as error:
        obstacles = error.problems
    except OperationError as error:
        obstacles = [str(error)]
    changes = compare_configurations(
        current, plan_configuration(current, update, signatures), secret_keys | update.secrets
    )
    missing = find_missing(update)
    return RollbackReport(
        number=update.number,
        changes=tuple(changes),
        kept=(*describe_kept_keys(current, update), *describe_requirement(signatures, update)),
        obstacles=tuple(obstacles),
        missing=None if missing is None else tuple(missing),
    )


def format_report(report: RollbackReport) -> str:
    """Return the report as text."""
    changes = [str(change) for change in report.changes]
    sections = (
        (f"A rollback to update {report.number} changes:", changes or ["nothing"]),
        ("It keeps:", report.kept),
        ("The release is not complete:", report.missing or ()),
        ("It would be refused:", report.obstacles),
    )
    text = "\n".join(
        "\n".join([title, *(f"  {line}" for line in lines)]) for title, lines in sections if lines
    )
    if report.missing is None:
        return f"{text}\n{_NOT_CHECKED}"
    return text if report.missing else f"{text}\nThe release is complete."


def rollback(
    stack: Stack,
    update: Update,
    config_file: Path,
    *,
    program: Path | None,
    options: Sequence[str] = (),
    policy_pack: Path | None,
    confirm: Callable[[], bool],
    deploy: Callable[[Stack, Sequence[str]], int],
) -> int:
    """Preview the rollback to `update`, ask for confirmation, run it and return the exit code.

    On success, the stack's configuration file is that of the update. Otherwise it is unchanged.

    Args:
        config_file: What `write_config_of` wrote.
        program: A checkout of the project at another commit, to run instead of the current one.
        options: More options of the engine.
        policy_pack: Directory of rules whose violations the preview reports. They do not end it.
        confirm: Called after the preview. Returns whether to continue.
        deploy: Runs the update with the engine's arguments, and returns its exit code.
    """
    runner = stack if program is None else run_program_at(stack, program)
    arguments = ("--config-file", str(config_file), *options)
    code = runner.preview(*arguments, *report_policies(policy_pack, config_file.parent))
    if code or not confirm():
        return code or _DECLINED
    message = f"rollback to update {update.number}"
    code = deploy(runner, ("--yes", "--skip-preview", "--message", message, *arguments))
    if code == 0:
        restored = remove_unused_salt(config_file.read_text())
        replace_atomically(stack.config_file, restored, mode=0o644)
    return code


def report_policies(pack: Path | None, directory: Path) -> list[str]:
    """Return the engine's arguments that report violations of the rules as warnings."""
    if pack is None:
        return []
    levels = directory / "policies.json"
    levels.write_text(_REPORT_ONLY)
    return ["--policy-pack", str(pack), "--policy-pack-config", str(levels)]


def run_program_at(stack: Stack, program: Path) -> Stack:
    """Return the same stack with the program in the directory `program`."""
    environment = {**stack.environment, "BERTH_PROJECT": str(stack.root)}
    # A checkout of Berth's own repository contains the packages that its program imports.
    packages = [
        program / name
        for name in _PACKAGE_DIRECTORIES
        if any((program / name).glob("*/__init__.py"))
    ]
    if packages:
        environment["PYTHONPATH"] = os.pathsep.join(map(str, packages))
    return replace(stack, program=program, environment=environment)


def check_out_program(root: Path, commit: str, say: Callable[[str], None]) -> Path:
    """Check out the project at `commit` under `.berth/` and return the directory.

    It is not removed, because the processes that it starts run from it.

    Raises:
        OperationError: If this clone does not contain the commit.
    """
    directory = root / ".berth" / "programs" / commit
    if not (directory / PROJECT_FILE).exists():
        _git(root, "worktree", "prune")
        _git(root, "worktree", "add", "--force", "--detach", str(directory), commit)
    pins = [_read_or_none(path / "requirements.txt") for path in (directory, root)]
    if pins[0] != pins[1]:
        say(
            f"Commit {commit[:12]} pins other packages than those that are installed. It runs "
            "with the installed packages."
        )
    return directory


def find_program(
    root: Path, update: Update, *, with_program: bool, say: Callable[[str], None]
) -> Path | None:
    """Return the program to roll back with: None for the current one, or a checkout.

    It reports if the update ran another commit than the current one.
    """
    current = read_head(root)
    if update.commit is None or update.commit == current:
        if update.has_uncommitted_changes:
            say(f"Update {update.number} ran with uncommitted changes, which are not recorded.")
        return None
    commit = update.commit[:12]
    if with_program:
        say(f"Running the program of commit {commit}, like update {update.number}.")
        return check_out_program(root, update.commit, say)
    say(
        f"Update {update.number} ran the program of commit {commit}. The current commit is "
        f"{(current or 'none')[:12]}. Only the configuration is rolled back. To run that commit, "
        "add --with-program."
    )
    return None


def read_head(root: Path) -> str | None:
    """Return the current commit of the project, or None outside a Git checkout."""
    result = subprocess.run(
        ["git", "rev-parse", "HEAD"],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=_GIT_SECONDS,
        check=False,
    )
    return result.stdout.strip() if result.returncode == 0 else None


def _read_or_none(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _git(root: Path, *arguments: str) -> None:
    result = subprocess.run(
        ["git", *arguments],
        cwd=root,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_GIT_SECONDS,
        check=False,
        env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
    )
    if result.returncode:
        raise OperationError(f"'git {' '.join(arguments[:2])}' failed: {result.stderr.strip()}")


def _format_path(path: ConfigPath) -> str:
    """Return a path in the form of `pulumi config --path`: `key.step["step.with.dots"]`."""
    first, *rest = path
    steps = "".join(f'["{step}"]' for step in rest)
    return first + steps
