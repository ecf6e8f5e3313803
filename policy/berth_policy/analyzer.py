"""`pulumi-analyzer-policy-berth`: the program that the engine starts to run the policy pack.

The engine looks for `pulumi-analyzer-policy-RUNTIME` on the PATH if no language host has the name
RUNTIME of `PulumiPolicy.yaml`. The pack therefore runs with every language host, including hosts
that do not run policy packs themselves.
"""

import os
import sys


def main() -> None:
    """Replace this process with Pulumi's own policy runner, in the environment of this package.

    The engine passes its gRPC address and the directory of the pack.
    """
    os.execv(  # noqa: S606 - the arguments come from the engine
        sys.executable, [sys.executable, "-u", "-m", "pulumi.policy", *sys.argv[1:]]
    )
