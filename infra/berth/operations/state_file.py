"""A stack's state read from Pulumi's files, without starting the engine.

Starting the engine takes 0.3 s for the outputs and 0.3 s for the history, more than the rest of a
command. The files have a stable format for outputs that are not secret. Anything unexpected (a
remote backend, compressed state, other markers than that of a secret) is left to the engine.
"""

import contextlib
import glob
import hashlib
import json
import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from berth.engine.environment import find_state_directory
from berth.errors import OperationError
from berth.operations.update import Update, parse_unready
from berth.platforms.platform import HIDDEN
from berth.project import read_project_name

_CLAIM_TYPE = "pulumi-python:dynamic/berth:NamespaceClaim"
_STACK_TYPE = "pulumi:pulumi:Stack"
_KUBERNETES = "kubernetes:"
# Keys and values that mark special values: sdk/go/common/resource/properties.go of Pulumi.
_SIGNATURE = "4dabf18193072939515e22adb298388d"
_SECRET = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - a marker, not a secret


@dataclass(frozen=True)
class RecordedState:
    """The outputs of a stack, with secrets replaced by `HIDDEN`, and its latest update."""

    outputs: dict[str, Any]
    latest: Update


class NeverDeployedError(OperationError):
    """The backend knows nothing of a stack."""

    def __init__(self, stack: str) -> None:
        super().__init__(f"Stack '{stack}' was never deployed. Run 'berth up -s {stack}'.")


class UnexpectedError(ValueError):
    """The files are not in the form that this module reads."""


def find_state_file(root: Path, stack: str) -> Path | None:
    """Return where the file with a stack's state is, if any, or None if only the engine knows."""
    directory = find_state_directory(root)
    if directory is None:
        return None
    try:
        return directory / ".pulumi" / "stacks" / read_project_name(root) / f"{stack}.json"
    except (OSError, ValueError):
        return None


def has_state_file(root: Path, stack: str) -> bool:
    """Return whether a local file contains the stack's state. If not, only the engine can tell."""
    path = find_state_file(root, stack)
    return path is not None and path.is_file()


def is_never_deployed(root: Path, stack: str) -> bool:
    """Return whether the backend certainly knows nothing of a stack.

    A stack leaves its state, also compressed, or after its removal a backup.
    """
    path = find_state_file(root, stack)
    if path is None:
        return False
    # Before Pulumi 3.61, the names of stacks were not qualified by a project.
    directories = (path.parent, path.parent.parent)
    return not any(any(each.glob(f"{glob.escape(stack)}.json*")) for each in directories)


def require_deployed(root: Path, stack: str) -> None:
    """Raise NeverDeployedError if a stack was never deployed, as far as files tell.

    To say so must not take the installation of an engine.
    """
    if is_never_deployed(root, stack):
        raise NeverDeployedError(stack)


def is_selected(root: Path, stack: str, environment: Mapping[str, str]) -> bool:
    """Return whether plain `pulumi` already works on the stack. If unknown, return False.

    The engine keeps the selection for each project file and backend: sdk/go/common/workspace/
    workspace.go of Pulumi. It writes the file whenever it selects a stack.

    Args:
        environment: The environment that the engine runs in.
    """
    try:
        name = read_project_name(root)
        digest = hashlib.sha1(str(root / "Pulumi.yaml").encode(), usedforsecurity=False).hexdigest()
        file = Path("workspaces", f"{name}-{digest}-workspace.json")
        paths = [home / file for home in _find_engine_homes(environment)]
        selected = {
            json.loads(path.read_text())["stacks"][environment["PULUMI_BACKEND_URL"]]
            for path in paths
            if path.exists()
        }
    except (OSError, ValueError, LookupError, TypeError):
        return False
    return selected == {f"organization/{name}/{stack}"}


def _find_engine_homes(environment: Mapping[str, str]) -> set[Path]:
    """Return the directories in which the engine may keep its files.

    Its home directory is that of Go's `user.Current`, which is from the password database or from
    `HOME`, depending on how the engine was built. They differ in some containers of continuous
    integration.
    """
    if home := environment.get("PULUMI_HOME"):
        return {Path(home)}
    homes = {Path.home()}
    with contextlib.suppress(KeyError):
        homes.add(Path(pwd.getpwuid(os.getuid()).pw_dir))
    return {home / ".pulumi" for home in homes}


def _is_compressed(path: Path) -> bool:
    """Return whether the state has the name of a compressed one, which only the engine reads."""
    return path.with_suffix(".json.gz").exists()


def read_state(root: Path, stack: str) -> RecordedState | None:
    """Return the recorded state of a stack, or None if only the engine can read it."""
    path = find_state_file(root, stack)
    if path is None:
        return None
    try:
        checkpoint = json.loads(path.read_text())
        # .pulumi/stacks/PROJECT/STACK.json and .pulumi/history/PROJECT/STACK/
        directory = path.parent.parent.parent / "history" / path.parent.name / stack
        history = sorted(directory.glob("*.history.json"))
        entry = json.loads(history[-1].read_text())
        # Only the engine decodes configuration values, and this module's callers need none.
        entry |= {"endTime": _format_time(entry["endTime"]), "config": {}}
        latest = Update.parse(len(history), entry)
        if latest.number in parse_unready(_read_tags(path)):
            latest = replace(latest, succeeded=False)
        return RecordedState(read_outputs(checkpoint), latest)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def read_tags(root: Path, stack: str) -> dict[str, str] | None:
    """Return the stack's tags, or None if only the engine can read them."""
    path = find_state_file(root, stack)
    if path is None or not path.is_file():
        return None
    try:
        return _read_tags(path)
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _read_tags(path: Path) -> dict[str, str]:
    """Return the stack's tags, which are next to the file with its state."""
    tags = path.with_suffix(".pulumi-tags")
    return dict(json.loads(tags.read_text())["tags"]) if tags.exists() else {}


def read_resources(root: Path, stack: str) -> list[dict[str, Any]] | None:
    """Return the resources (see `list_resources`), or None if only the engine can read them.

    Secrets are replaced by `HIDDEN`.
    """
    path = find_state_file(root, stack)
    if path is None:
        return None
    try:
        return list_resources(json.loads(path.read_text())["checkpoint"]["latest"] or {})
    except FileNotFoundError:
        return None if _is_compressed(path) else []
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def list_resources(deployment: Any) -> list[dict[str, Any]]:
    """Return type, ID, provider, URN and outputs of each resource in a deployment's JSON form.

    A Kubernetes object also has its inputs: the manifest that the program declared.
    """
    resources = []
    for entry in deployment.get("resources") or []:
        # An output that is an asset or a reference to a resource is of no interest here.
        with contextlib.suppress(UnexpectedError):
            found = {key: entry.get(key, "") for key in ("type", "id", "provider", "urn")}
            found["outputs"] = _hide_secrets(entry.get("outputs") or {})
            if found["type"].startswith(_KUBERNETES):
                found["inputs"] = _hide_secrets(entry.get("inputs") or {})
            resources.append(found)
    return resources


def read_owner_ids(root: Path, stack: str) -> dict[str, str] | None:
    """Return the ID of the owner in each claim of the stack, by the claim's logical name.

    Returns:
        No IDs if the stack was never deployed. None if only the engine can read the state.
    """
    path = find_state_file(root, stack)
    if path is None:
        return None
    try:
        if not path.exists():
            return None if _is_compressed(path) else {}
        checkpoint = json.loads(path.read_text())
        latest = checkpoint["checkpoint"].get("latest") or {}
        return {
            entry["urn"].rpartition("::")[2]: str(entry["outputs"]["owner_id"])
            for entry in latest.get("resources") or ()
            if entry["type"] == _CLAIM_TYPE
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def read_outputs(checkpoint: Any) -> dict[str, Any]:
    """Return the outputs of the stack in a checkpoint, with secrets replaced by `HIDDEN`.

    Raises:
        UnexpectedError: If it has another form.
    """
    resources = checkpoint["checkpoint"]["latest"]["resources"]
    stacks = [entry for entry in resources if entry["type"] == _STACK_TYPE]
    if len(stacks) != 1:
        raise UnexpectedError
    return {key: _hide_secrets(value) for key, value in stacks[0]["outputs"].items()}


def _hide_secrets(value: Any) -> Any:
    if isinstance(value, list):
        return [_hide_secrets(item) for item in value]
    if not isinstance(value, dict):
        return value
    if _SIGNATURE not in value:
        return {key: _hide_secrets(item) for key, item in value.items()}
    if value[_SIGNATURE] != _SECRET:
        raise UnexpectedError
    return HIDDEN


def _format_time(seconds: int) -> str:
    """Return the time in the format of `pulumi stack history --json`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
