"""Berth's components as a plugin that Pulumi starts from this folder; see PulumiPlugin.yaml."""

import sys
from pathlib import Path

_FOLDERS = ("infra", "components", "protocol", "gateway_app")
sys.path[:0] = [str(Path(__file__).parent / folder) for folder in _FOLDERS]

from pulumi_berth.plugin import run  # noqa: E402

run()
