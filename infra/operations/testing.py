"""`berth test`: pytest, with the engine in its environment."""

import os
import subprocess
import sys

FAST_FIRST = ("tests/unit", "tests/serving", "tests/gateway", "tests/engine")


def run_tests(arguments: list[str]) -> int:
    chosen = arguments or [folder for folder in FAST_FIRST if os.path.isdir(folder)]
    return subprocess.run([sys.executable, "-m", "pytest", *chosen], check=False).returncode
