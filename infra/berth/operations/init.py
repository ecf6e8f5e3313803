"""`berth init`: a new project from the template that the package contains.

The template is also a Pulumi template: `pulumi new` on its directory creates the same project.
"""

import json
import re
import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files
from pathlib import Path

from berth.errors import OperationError

TEMPLATE = Path(str(files("berth"))) / "project_template"
DESCRIPTION = "Trained models, each version in its own serving container"

_PROJECT_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_TEMPLATE_SECTION = re.compile(r"^template:\n(?:[ \t].*\n?)*", re.MULTILINE)
_IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc")


def create_project(directory: Path) -> str:
    """Create a project in `directory`, which is absent or empty, and return its name.

    The project is complete or absent: it is written next to `directory` and then renamed.

    Raises:
        OperationError: If the name is invalid, the directory is not empty, or writing fails.
    """
    directory = directory.resolve()
    name = directory.name
    if not _PROJECT_NAME.fullmatch(name):
        raise OperationError(
            f"'{name}' is not a valid project name. Use 1 to 100 letters, digits, '_', '.' and '-'."
        )
    try:
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise OperationError(
                f"{directory} exists and is not an empty directory. Nothing was changed. Choose "
                "another name."
            )
        with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=directory.parent) as temporary:
            draft = Path(temporary) / name
            shutil.copytree(TEMPLATE, draft, ignore=_IGNORED)
            _fill_in(draft, name)
            draft.rename(directory)
    except OSError as error:
        raise OperationError(
            f"Could not create {directory}: {error.strerror or error}. Nothing was changed."
        ) from error
    return name


def _fill_in(project: Path, name: str) -> None:
    """Replace the template's placeholders, as `pulumi new` does, and pin the installed version."""
    for path in (project / "Pulumi.yaml", project / "README.md"):
        text = path.read_text().replace("${PROJECT}", name).replace("${DESCRIPTION}", DESCRIPTION)
        path.write_text(_TEMPLATE_SECTION.sub("", text))
    requirements = project / "requirements.txt"
    lines = requirements.read_text().splitlines()
    pinned = [find_pin() if line.startswith("berth==") else line for line in lines]
    requirements.write_text("\n".join(pinned) + "\n")


def find_pin() -> str:
    """Return the requirement that installs the running version of Berth.

    A package index may serve another project under this name, so a version is not enough.
    """
    try:
        package = distribution("berth")
    except PackageNotFoundError:
        return _read_template_pin()
    origin = json.loads(package.read_text("direct_url.json") or "{}")
    if not origin:
        return f"berth=={package.version}"
    source = origin.get("vcs_info")
    if source:
        return f"berth @ {source['vcs']}+{origin['url']}@{source['commit_id']}"
    return f"berth @ {origin['url']}"


def _read_template_pin() -> str:
    lines = (TEMPLATE / "requirements.txt").read_text().splitlines()
    return next(line for line in lines if line.startswith("berth=="))
