"""Where a model version's directory lies."""

from pathlib import Path


def version_directory(root: Path, model: str, version: str, path: str | None) -> Path:
    """The directory of one version: `path` from the specification, relative to the project,
    else `models/<model>/<version>`."""
    return (root / (path or f"models/{model}/{version}")).resolve()
