"""What a stack declares, found out without an engine, a cloud or credentials.

    python -m berth.operations.declared FILE [--values-from FILE]

The program runs under Pulumi's own mocks, as a preview of a stack that is not there yet. What is
known only once something is deployed stays unknown. One JSON document: a list of resources.
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
from berth.project import find_project
from berth.spec import HostingSpec, SpecError, load_file, load_with_values_from

# Of no account and no stack: what two stacks declare is held side by side.
_STACK = "stack"


# What AWS, or a registry, gives a resource to be referred to by.
_REFERENCES = ("arn", "name", "reference")


def _given(inputs: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in inputs.items() if value is not None}


def _unknown(_: object) -> str:
    return "(known once deployed)"


class _Declared(Mocks):
    """Keeps what is declared, and answers as an empty target does."""

    def __init__(self, spec: HostingSpec) -> None:
        self.resources: list[dict[str, Any]] = []
        self._spec = spec

    def new_resource(self, args: MockResourceArgs) -> tuple[str, dict[Any, Any]]:
        inputs: dict[str, Any] = dict(args.inputs)
        if args.typ == "pulumi:pulumi:StackReference":
            return str(inputs["name"]), {**inputs, "outputs": self._answer(args.typ, inputs)}
        self.resources.append({"type": args.typ, "name": args.name, "inputs": inputs})
        # By these others refer to it: who uses which key, role or image is told apart.
        made = {key: f"{key} of {args.typ} {args.name}" for key in _REFERENCES}
        return f"id of {args.typ} {args.name}", {**made, **_given(inputs)}

    def call(self, args: MockCallArgs) -> tuple[dict[Any, Any], list[tuple[str, str]]]:
        return self._answer(args.token, dict(args.args)), []

    def _answer(self, function: str, arguments: dict[str, Any]) -> dict[str, Any]:
        return get_platform(self._spec.platform).answer_offline(self._spec, function, arguments)


class _Graph(MockMonitor):
    """Adds to what is declared how it hangs together."""

    def __init__(self, mocks: _Declared) -> None:
        super().__init__(mocks)
        self._resources = mocks.resources
        self._one_at_a_time = Lock()

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 - gRPC's own name
        with self._one_at_a_time:
            known = len(self._resources)
            response = super().RegisterResource(request)  # type: ignore[no-untyped-call]
            for resource in self._resources[known:]:
                uses = {*request.dependencies, request.provider.rpartition("::")[0]} - {""}
                resource |= {"urn": response.urn, "parent": request.parent, "uses": sorted(uses)}
        return response


def declared(file: Path, values_from: Path | None = None) -> list[dict[str, Any]]:
    """Each resource that the stack in `file` declares: `type`, `name`, `inputs`; `urn`, that of
    its `parent`, and those of the resources that it `uses`.

    Args:
        values_from: another stack's file, whose values replace those that may differ
            (`parity.may_differ`).

    Raises:
        SpecError: one of the files is not a sound specification.
    """
    spec = load_file(file) if values_from is None else load_with_values_from(file, values_from)
    mocks = _Declared(spec)
    mocks.resources += [
        {
            "type": "berth:data:Set",
            "name": name,
            "inputs": _given(entry.model_dump()),
            "urn": f"urn:pulumi:{_STACK}::berth::berth:data:Set::{name}",
            "parent": "",
            "uses": [],
        }
        for name, entry in spec.data.datasets.items()
    ]
    # Its image is declared by what its version is now, which lies where the stack is.
    spec = spec.model_copy(update={"data": spec.data.model_copy(update={"datasets": {}})})
    asyncio.set_event_loop(asyncio.new_event_loop())
    pulumi.runtime.set_mocks(
        mocks, project="berth", stack=_STACK, preview=True, monitor=_Graph(mocks)
    )

    def program() -> None:
        get_platform(spec.platform).deploy(spec, stack=_STACK, root=find_project())

    to_its_end: Any = pulumi.runtime.test(program)  # type: ignore[no-untyped-call]
    to_its_end()
    return sorted(mocks.resources, key=lambda found: (found["type"], found["name"]))


def main() -> None:
    parser = argparse.ArgumentParser(prog="berth.operations.declared")
    parser.add_argument("file", type=Path)
    parser.add_argument("--values-from", type=Path)
    given = parser.parse_args()
    try:
        found = declared(given.file, given.values_from)
    except SpecError as error:
        sys.exit(str(error))
    json.dump(found, sys.stdout, default=_unknown)


if __name__ == "__main__":
    main()
