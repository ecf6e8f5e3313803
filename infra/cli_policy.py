"""The security baseline that previews and updates are held against."""

from dataclasses import replace

from infra.cli_shared import ROOT, say
from infra.engine import runs_policy_packs
from infra.operations.stack import Stack
from infra.spec import HostingSpec


def against_baseline(stack: Stack, spec: HostingSpec) -> Stack:
    """The stack, held against the baseline where that is about anything in it, and can be asked."""
    if spec.platform == "local":
        return stack
    if not runs_policy_packs(stack.environment["PATH"]):
        say(
            "policy: the security baseline is not asked: this engine's language host runs no "
            "policy packs in Python; Pulumi's own release of the engine does (docs/policy.md)"
        )
        return stack
    return replace(stack, policy_pack=ROOT / "policy")
