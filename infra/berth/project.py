"""The project: the directory with `Pulumi.yaml` that a command works in."""

import os
from pathlib import Path

PROJECT_FILE = "Pulumi.yaml"
_PROJECT_VARIABLE = "BERTH_PROJECT"


class ProjectError(RuntimeError):
    """No project contains the working directory. The message states where Berth searched."""


class ProjectNameError(ProjectError, ValueError):
    """The project's file is not YAML or has no name."""


def find_project(start: Path | None = None) -> Path:
    """Return the project's directory: the nearest one, upward from `start`, with `Pulumi.yaml`.

    Args:
        start: Directory to start from. Defaults to the working directory.

    Raises:
        ProjectError: If neither `start` nor a parent directory contains `Pulumi.yaml`.
    """
    directory = (start or Path.cwd()).resolve()
    for candidate in (directory, *directory.parents):
        if (candidate / PROJECT_FILE).is_file():
            return candidate
    raise ProjectError(
        f"No {PROJECT_FILE} in {directory} or any parent directory. "
        "Change to a project's directory, or run 'berth init NAME' to create one."
    )


def program_project() -> Path:
    """Return the project that the running Pulumi program deploys.

    A rollback that runs an earlier commit's program sets BERTH_PROJECT, because models and state
    stay in the project and only the program comes from the earlier commit.
    """
    named = os.environ.get(_PROJECT_VARIABLE)
    return Path(named) if named else find_project()


def read_project_name(root: Path) -> str:
    """Return the name in a project's `Pulumi.yaml`.

    Raises:
        ProjectNameError: If the file is not YAML or has no name.
    """
    # Only needed here, and slow to import.
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    path = root / PROJECT_FILE
    try:
        return str(YAML(typ="safe").load(path.read_text())["name"])
    except (YAMLError, LookupError, TypeError) as error:
        raise ProjectNameError(
            f"{path} has no valid 'name'. Add one, such as 'name: berth'."
        ) from error


def version_directory(root: Path, model: str, version: str, path: str | None) -> Path:
    """Return the directory of a model version.

    Args:
        root: Directory of the project.
        path: `path` from the specification. Defaults to `models/<model>/<version>`.
    """
    return (root / (path or f"models/{model}/{version}")).resolve()
