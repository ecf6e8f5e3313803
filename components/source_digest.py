"""The digest of a program's source: what tells a component that the program changed."""

import hashlib
from pathlib import Path


def source_digest(package: Path) -> str:
    """`sha256:<hex>` over the names and contents of a package's Python files, in name order."""
    total = hashlib.sha256()
    for source in sorted(package.rglob("*.py")):
        total.update(source.relative_to(package).as_posix().encode() + b"\0")
        total.update(hashlib.sha256(source.read_bytes()).digest())
    return f"sha256:{total.hexdigest()}"
