"""Verify the dataset in SOURCE, and copy it to TARGET: `python -m berth_data SOURCE [TARGET]`.

If the environment variable BERTH_DATA_DIGEST is set, the manifest must have this digest. If a check
fails, the program prints one line to stderr and exits with status 1, so that the model does not
start.
"""

import os
import shutil
import sys
from pathlib import Path

from berth_data.manifest import MANIFEST_NAME, DatasetError, check_file, read_manifest


def main(arguments: list[str]) -> int:
    source, *targets = (Path(argument) for argument in arguments)
    try:
        files = read_manifest(source, os.environ.get("BERTH_DATA_DIGEST") or None)
        for number, (name, sha256) in enumerate(sorted(files.items()), 1):
            check_file(source / name, name, sha256)
            for target in targets:
                _copy(source / name, target / name)
                check_file(target / name, name, sha256)
            # Progress goes to stderr like the errors, so that the last line is the last event.
            print(f"{number} of {len(files)}: {name}", file=sys.stderr)
        for target in targets:
            _copy(source / MANIFEST_NAME, target / MANIFEST_NAME)
    except (DatasetError, OSError) as error:
        print(f"data: {error}", file=sys.stderr)
        return 1
    return 0


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
