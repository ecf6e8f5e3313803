"""Where a stack runs: each platform composes components from the specification."""

import importlib
from pathlib import Path
from types import ModuleType

import pulumi

from berth.platforms.stack_context import LeftOut
from berth.spec import HostingSpec

# Imported only when chosen: the cloud SDKs cost seconds at every preview.
_PLATFORMS = {
    "local": "berth.platforms.local.deploy",
    "kubernetes": "berth.platforms.kubernetes.deploy",
    "aws": "berth.platforms.aws.deploy",
}
# What tells which of a stack's parts run, and what they wrote.
_STATES = {
    "local": "berth.platforms.local.observe",
    "kubernetes": "berth.platforms.kubernetes.observe",
    "aws": "berth.platforms.kubernetes.observe",
}


def require_target(spec: HostingSpec, root: Path) -> None:
    """Raise SpecError when the place where `spec` is to run cannot be reached or lacks something.

    Asked before the engine starts, which would wait longer and say it less clearly.
    """
    platform = importlib.import_module(_PLATFORMS[spec.platform])
    platform.require_target(spec, root)


def left_out(spec: HostingSpec, root: Path) -> list[LeftOut]:
    """The parts of the stack that cannot be reached now: an update leaves them as they are."""
    if not spec.edge.sites:
        return []
    from berth.platforms.kubernetes.sites import unreachable

    return unreachable(spec, root)


def state_of(spec: HostingSpec) -> ModuleType:
    """The module that looks at a running stack: `observe`, `log_lines` and `explain`."""
    return importlib.import_module(_STATES[spec.platform])


def deploy(spec: HostingSpec, *, stack: str, root: Path) -> dict[str, pulumi.Input[object]]:
    """Declare everything that `spec` says for its platform; the result is the stack's outputs."""
    platform = importlib.import_module(_PLATFORMS[spec.platform])
    outputs: dict[str, pulumi.Input[object]] = platform.deploy(spec, stack=stack, root=root)
    return outputs
