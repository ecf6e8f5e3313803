"""The process that runs Berth's dynamic providers, for an engine that Berth starts.

The engine starts `pulumi-resource-pulumi-python` from the PATH, which is Pulumi's own host of
dynamic providers. Berth puts a program of this name first on the PATH, which is the same host, but
refuses a provider that is not Berth's before it is unpickled. The state may have changed after
`berth` checked it.
"""

import runpy
import sys
from pathlib import Path
from shlex import quote

from pulumi_berth.files import cache_directory, replace_atomically
from pulumi_berth.provider_paths import check_pickle

PROGRAM = "pulumi-resource-pulumi-python"


def install_host() -> Path:
    """Write the program for this Python environment, and return its directory."""
    # Environments share the cache, and each needs its own interpreter.
    directory = cache_directory("provider-host", sys.executable.strip("/").replace("/", "-"))
    program = directory / PROGRAM
    script = f'#!/bin/sh\nexec {quote(sys.executable)} -u -m {__name__} "$@"\n'
    if not program.is_file() or program.read_text() != script:
        replace_atomically(program, script, mode=0o755)
    return directory


def run() -> None:
    """Serve dynamic providers until the engine ends this process."""
    import dill  # type: ignore[import-untyped]

    loads = dill.loads

    def load_checked(data: bytes, *arguments: object, **options: object) -> object:
        return loads(check_pickle(data), *arguments, **options)

    dill.loads = load_checked
    runpy.run_module("pulumi.dynamic", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    run()
