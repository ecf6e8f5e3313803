"""The Pulumi program of every stack: specification, platform, outputs."""

import asyncio
import atexit
import gc

import pulumi

from berth.platforms import get_platform
from berth.project import program_project
from berth.spec import HostingSpec, SpecError, load_config
from berth.spec.signatures import requires_signatures

# https://www.pulumi.com/registry/packages/kubernetes/how-to-guides/managing-resources-with-server-side-apply/
_PATCH_FORCE = "pulumi.com/patchForce"


def spare_garbage_collection() -> None:
    """Let Python search for unreachable objects more rarely, and not at the end of the process.

    The classes of an SDK are most objects of a program and stay until its end. For a stack on AWS,
    searching them again and again took 0.9 s of 6 s of CPU time, and the last search 1.3 s. The
    program needs 1 % more memory without them.
    """
    gc.set_threshold(100_000, 50, 100)
    atexit.register(gc.freeze)


def run() -> None:
    """Deploy the stack that Pulumi runs this program for, and export its outputs.

    `infra/__main__.py` of a project calls this.

    Raises:
        pulumi.RunError: If the stack's configuration is not a valid specification.
    """
    spare_garbage_collection()
    try:
        spec = load_config(pulumi.get_stack())
        _require_signatures(spec)
        platform = get_platform(spec.platform)
        pulumi.runtime.register_stack_transformation(_restore_changed_fields)
        outputs = platform.deploy(spec, stack=pulumi.get_stack(), root=program_project())
    except SpecError as error:
        raise pulumi.RunError(str(error)) from None
    for key, value in outputs.items():
        pulumi.export(key, value)
    pulumi.run(_start_registrations)


def _require_signatures(spec: HostingSpec) -> None:
    """Check required signatures also when `pulumi up` runs the program without Berth's command.

    Raises:
        SpecError: If a version is not signed with a trusted key.
    """
    if requires_signatures(spec):
        # Slow to import, and most stacks do not need it.
        from berth.spec.model_files import check_models

        check_models(spec, program_project())


def _restore_changed_fields(
    args: pulumi.ResourceTransformationArgs,
) -> pulumi.ResourceTransformationResult | None:
    """Let an update of a Kubernetes object restore fields that another program changed.

    Without the annotation, an update ends at a conflict of field managers after somebody ran
    `kubectl edit`. Who owns the namespace and its objects was checked before.
    """
    metadata = args.props.get("metadata")
    if not args.type_.startswith("kubernetes:") or not isinstance(metadata, dict):
        return None
    annotations = pulumi.Output.from_input(metadata.get("annotations")).apply(
        lambda existing: {**(existing or {}), _PATCH_FORCE: "true"}
    )
    props = {**args.props, "metadata": {**metadata, "annotations": annotations}}
    return pulumi.ResourceTransformationResult(props=props, opts=args.opts)


async def _start_registrations() -> None:
    """Let the registration of every resource start before the SDK waits for all of them.

    The SDK then waits for one after the other. Otherwise it finds none, and waits for all of their
    outputs at once, again and again: quadratic in their number, minutes for 1,000 berths.
    """
    await asyncio.sleep(0)
