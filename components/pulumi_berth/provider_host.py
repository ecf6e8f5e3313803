"""The process that runs Berth's dynamic providers, for an engine that Berth starts.

The engine runs every Python program, and with `-m pulumi.dynamic` the host of dynamic providers, by
the command in PULUMI_PYTHON_CMD. Berth sets it to a script that starts this module instead of
`pulumi.dynamic`: the same host, which refuses a provider that is not Berth's before it is
unpickled. The state may have changed after `berth` checked it. The script also lists the installed
packages for the language host, because pip takes five times as long.

A host of Pulumi's name on the PATH would do the same, but the engine warns of it in every update.
"""

import runpy
import sys
from pathlib import Path
from shlex import quote

from pulumi_berth.files import cache_directory, replace_atomically
from pulumi_berth.provider_paths import check_pickle

_PROGRAM = "python"
# Not imported: this process would load the parsers of package metadata for nothing.
_PACKAGE_LIST = "pulumi_berth.installed_packages"


def install_python() -> Path:
    """Write the script for this Python environment, and return its path."""
    # Environments share the cache, and each needs its own interpreter.
    directory = cache_directory("provider-host", sys.executable.strip("/").replace("/", "-"))
    program = directory / _PROGRAM
    python = quote(sys.executable)
    script = (
        "#!/bin/sh\n"
        'if [ "$1 $2 $3" = "-u -m pulumi.dynamic" ]; then\n'
        "    shift 3\n"
        f'    exec {python} -u -m {__name__} "$@"\n'
        "fi\n"
        'if [ "$*" = "-m pip list -v --format json" ]; then\n'
        f"    exec {python} -P -m {_PACKAGE_LIST}\n"
        "fi\n"
        f'exec {python} "$@"\n'
    )
    if not program.is_file() or program.read_text() != script:
        replace_atomically(program, script, mode=0o755)
    return program


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
