"""The resources that a stack declares, without an engine, a cloud or credentials.

    python -m berth.operations.offline_program FILE [--values-from FILE]

The program runs under Pulumi's mocks, like a preview of a stack that does not exist yet. Values
that are known only after a deployment stay unknown. It prints one JSON list of resources.
"""

import argparse
import asyncio
import json
import sys
from pathlib import Path
from threading import Lock
from typing import Any

import pulumi
from pulumi.runtime.mocks import MockCallArgs, MockMonitor, MockResourceArgs, Mocks

from berth.platforms import get_platform
from berth.program import spare_garbage_collection
from berth.project import find_project
from berth.spec import HostingSpec, SpecError, load_file, load_with_values_from

# The same name for every stack, so that two stacks can be compared.
_STACK = "stack"
_DATASET_TYPE = "berth:data:Dataset"

# Outputs by which other resources refer to a resource.
_REFERENCES = ("arn", "name", "reference")


def _without_none(inputs: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in inputs.items() if value is not None}


def _describe_unknown(_: object) -> str:
    return "(known once deployed)"


class _RecordingMocks(Mocks):
    """Mocks that record each resource and answer like an empty target."""

    def __init__(self, spec: HostingSpec) -> None:
        self.resources: list[dict[str, Any]] = []
        self._spec = spec

    def new_resource(self, args: MockResourceArgs) -> tuple[str, dict[Any, Any]]:
        inputs: dict[str, Any] = dict(args.inputs)
        if args.typ == "pulumi:pulumi:StackReference":
            return str(inputs["name"]), {**inputs, "outputs": self._answer(args.typ, inputs)}
        self.resources.append({"type": args.typ, "name": args.name, "inputs": inputs})
        # Distinct references show which key, role or image a resource uses.
        references = {key: f"{key} of {args.typ} {args.name}" for key in _REFERENCES}
        return f"id of {args.typ} {args.name}", {**references, **_without_none(inputs)}

    def call(self, args: MockCallArgs) -> tuple[dict[Any, Any], list[tuple[str, str]]]:
        return self._answer(args.token, dict(args.args)), []

    def _answer(self, function: str, arguments: dict[str, Any]) -> dict[str, Any]:
        return get_platform(self._spec.platform).answer_offline(self._spec, function, arguments)


class _GraphMonitor(MockMonitor):
    """A monitor that adds parents and dependencies to the recorded resources."""

    def __init__(self, mocks: _RecordingMocks) -> None:
        super().__init__(mocks)
        self._resources = mocks.resources
        self._lock = Lock()

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 - gRPC's own name
        with self._lock:
            known = len(self._resources)
            response = super().RegisterResource(request)  # type: ignore[no-untyped-call]
            for resource in self._resources[known:]:
                uses = {*request.dependencies, request.provider.rpartition("::")[0]} - {""}
                resource |= {"urn": response.urn, "parent": request.parent, "uses": sorted(uses)}
        return response


def declare_resources(file: Path, values_from: Path | None = None) -> list[dict[str, Any]]:
    """Return each resource that the stack in `file` declares.

    Args:
        values_from: Another stack's file, whose values replace those that may differ
            (`parity.may_differ`).

    Returns:
        `type`, `name`, `inputs`, `urn`, the URN of the `parent`, and the URNs of the resources
        that it `uses`.

    Raises:
        SpecError: If one of the files is not a valid specification.
    """
    spec = load_file(file) if values_from is None else load_with_values_from(file, values_from)
    mocks = _RecordingMocks(spec)
    mocks.resources += [
        {
            "type": _DATASET_TYPE,
            "name": name,
            "inputs": _without_none(entry.model_dump()),
            "urn": f"urn:pulumi:{_STACK}::berth::{_DATASET_TYPE}::{name}",
            "parent": "",
            "uses": [],
        }
        for name, entry in spec.data.datasets.items()
    ]
    # Declaring a dataset's image reads its digest, which is only available where the stack is.
    spec = spec.model_copy(update={"data": spec.data.model_copy(update={"datasets": {}})})
    asyncio.set_event_loop(asyncio.new_event_loop())
    pulumi.runtime.set_mocks(
        mocks, project="berth", stack=_STACK, preview=True, monitor=_GraphMonitor(mocks)
    )

    def program() -> None:
        get_platform(spec.platform).deploy(spec, stack=_STACK, root=find_project())

    run: Any = pulumi.runtime.test(program)  # type: ignore[no-untyped-call]
    run()
    return sorted(mocks.resources, key=lambda resource: (resource["type"], resource["name"]))


def main() -> None:
    """Print the resources that a configuration file declares."""
    parser = argparse.ArgumentParser(prog="berth.operations.offline_program")
    parser.add_argument("file", type=Path)
    parser.add_argument("--values-from", type=Path)
    arguments = parser.parse_args()
    spare_garbage_collection()
    try:
        resources = declare_resources(arguments.file, arguments.values_from)
    except SpecError as error:
        sys.exit(str(error))
    json.dump(resources, sys.stdout, default=_describe_unknown)


if __name__ == "__main__":
    main()
