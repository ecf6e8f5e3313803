"""Write fixtures/local-stack.json, the state of a deployed local stack.

Run `python -m tests.engine.export_state` after a change of resource inputs, and review the
difference. A fixture that older code exported shows whether the current code still reads it.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

from tests.engine.project import Project

FIXTURE = Path(__file__).parent / "fixtures" / "local-stack.json"
PROJECT_ROOT = "@PROJECT@"
"""Replaces the absolute path of the project in the fixture."""

# The engine adds the source files that declared a resource, with paths of this machine.
_SOURCE_FIELDS = ("sourcePosition", "stackTrace")


def export_state() -> str:
    """Deploy a stack, export its state, and destroy the stack."""
    with tempfile.TemporaryDirectory(prefix="berth-state-") as directory:
        project = Project.copy_to(Path(directory).resolve())
        try:
            project.pulumi("stack", "init", "local")
            project.berth("up", "--yes")
            state: dict[str, Any] = json.loads(project.pulumi("stack", "export").stdout)
            project.berth("destroy", "--yes")
        finally:
            project.stop_processes()
    for resource in state["deployment"]["resources"]:
        for field in _SOURCE_FIELDS:
            resource.pop(field, None)
    text = json.dumps(state, indent=1, sort_keys=True) + "\n"
    return text.replace(str(project.root), PROJECT_ROOT)


def main() -> None:
    FIXTURE.parent.mkdir(exist_ok=True)
    FIXTURE.write_text(export_state())
    print(FIXTURE)


if __name__ == "__main__":
    main()
