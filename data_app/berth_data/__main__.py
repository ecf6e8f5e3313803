"""`python -m berth_data SOURCE [TARGET]`: check the set in SOURCE, and copy it to TARGET.

`BERTH_DATA_DIGEST` is the digest that its manifest must have; any when empty. The exit status is 1
with one line on stderr when anything is not as it should be: the model then does not start.
"""

import os
import shutil
import sys
from pathlib import Path

from berth_data.manifest import NAME, DataError, check_file, read_manifest


def main(arguments: list[str]) -> int:
    source, *rest = (Path(argument) for argument in arguments)
    try:
        files = read_manifest(source, os.environ.get("BERTH_DATA_DIGEST") or None)
        for number, (name, sha256) in enumerate(sorted(files.items()), 1):
            check_file(source / name, name, sha256)
            for target in rest:
                _copy(source / name, target / name)
                check_file(target / name, name, sha256)
            # With the errors, so that the last line is the last that happened.
            print(f"{number} of {len(files)}: {name}", file=sys.stderr)
        for target in rest:
            _copy(source / NAME, target / NAME)
    except (DataError, OSError) as error:
        print(f"data: {error}", file=sys.stderr)
        return 1
    return 0


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
