"""Signatures that the target of a promotion requires of the images that it gets."""

from collections.abc import Iterator
from pathlib import Path

from berth.operations.promotion.images import ImagePlan, Side, list_pushed
from berth.operations.promotion.release import Release
from berth.platforms.preflight import Finding, Status
from berth.spec.errors import format_path
from berth.spec.signatures import read_signers, requires_signatures

_CHECK = "signatures"


def check_signatures(
    root: Path, release: Release, plan: ImagePlan, source: Side, target: Side
) -> Iterator[Finding]:
    """Check that a key that the target trusts signed each image that it pulls.

    The files of the versions are checked together with the target's specification. Images that the
    target builds are made of these files.
    """
    if not requires_signatures(target.spec):
        return
    # Slow to import, and most stacks do not need it.
    from pulumi_berth.oci.registry import RegistryError
    from pulumi_berth.signing.errors import SignatureError
    from pulumi_berth.signing.image_signature import check_image_signature
    from pulumi_berth.signing.signers import select_keys

    signers, problems = read_signers(target.spec, root)
    keys = select_keys(signers)
    for problem in problems:
        detail = f"{format_path(problem.path)}: {problem.message}."
        yield Finding(check=_CHECK, status=Status.FAILED, detail=detail)
    pushed = list_pushed(release)
    signed = 0
    for model, version in plan.pins:
        try:
            check_image_signature(
                pushed[model, version], keys, plain_http=source.spec.registry.plain_http
            )
        except (SignatureError, RegistryError) as error:
            yield Finding(
                check=_CHECK,
                status=Status.FAILED,
                detail=f"{error}.",
                fix=f"Run 'berth sign-images {model} -s {source.stack} --key KEY'.",
            )
        else:
            signed += 1
    if signed:
        detail = f"Images that a key of '{target.stack}' signed: {signed}."
        yield Finding(check=_CHECK, status=Status.PASSED, detail=detail)
