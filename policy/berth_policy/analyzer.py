"""`pulumi-analyzer-policy-berth`: the program that the engine starts to run the policy pack.

If no language host is named after the RUNTIME in `PulumiPolicy.yaml`, the engine runs
`pulumi-analyzer-policy-RUNTIME` from the PATH. The pack therefore works with every language host,
including hosts that do not run policy packs themselves.
"""

import os
import sys


def main() -> None:
    """Replace this process with Pulumi's policy runner, in this Python environment.

    The engine passes its gRPC address and the directory of the pack.
    """
    os.execv(  # noqa: S606 - the engine passes the arguments
        sys.executable, [sys.executable, "-u", "-m", "pulumi.policy", *sys.argv[1:]]
    )
