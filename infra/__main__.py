"""The program: specification -> platform -> exports."""

import os
import sys
from pathlib import Path

import pulumi

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # `main: infra` puts this folder on the path, not the project's

from infra.platforms import deploy  # noqa: E402
from infra.spec import SpecError, load_config  # noqa: E402

try:
    spec = load_config(pulumi.get_stack())
    project = Path(os.environ.get("BERTH_PROJECT", ROOT))  # another one: see operations/rollback
    outputs = deploy(spec, stack=pulumi.get_stack(), root=project)
except SpecError as error:
    raise pulumi.RunError(str(error)) from None

for key, value in outputs.items():
    pulumi.export(key, value)
