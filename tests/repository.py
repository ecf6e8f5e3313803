"""This checkout: where it is, and the import packages in it."""

import os
import shutil
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCES = ("infra", "components", "protocol", "serving_app", "gateway_app", "data_app", "policy")
"""Directories that contain the import packages."""
PACKAGES = os.pathsep.join(str(REPOSITORY / name) for name in SOURCES)
"""PYTHONPATH for the processes that tests start, so that they run this checkout's packages."""


def copy_sources(target: Path) -> None:
    """Copy what a wheel is built from, because setuptools writes into the source tree."""
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in SOURCES:
        shutil.copytree(REPOSITORY / name, target / name, ignore=ignored)
    for name in ("pyproject.toml", "requirements.txt", "README.md", "LICENSE"):
        shutil.copy2(REPOSITORY / name, target / name)
