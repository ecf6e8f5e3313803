"""The security baseline that previews and updates are checked against."""

from dataclasses import replace
from importlib.resources import files
from pathlib import Path

from berth.operations.stack import Stack
from berth.platforms import get_platform
from berth.spec import HostingSpec

POLICY_PACK = Path(str(files("berth_policy")))


def against_baseline(stack: Stack, spec: HostingSpec) -> Stack:
    """Return the stack with the policy pack, unless no rule applies to its platform."""
    if not get_platform(spec.platform).has_security_baseline:
        return stack
    return replace(stack, policy_pack=POLICY_PACK)
