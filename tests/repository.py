"""This checkout: where it is, and the import packages in it."""

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCES = ("infra", "components", "protocol", "serving_app", "gateway_app", "data_app", "policy")
"""Directories that contain the import packages."""
PACKAGES = os.pathsep.join(str(REPOSITORY / name) for name in SOURCES)
"""PYTHONPATH for the processes that tests start, so that they run this checkout's packages."""
