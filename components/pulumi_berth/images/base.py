"""The hardened base: Python and what it needs from Debian, and nothing else."""

import re
from collections.abc import Sequence
from email.parser import Parser

from pulumi_berth.images.debian import Package
from pulumi_berth.oci.tree import EXECUTABLE, Entry, Tree, folder, link, text

USER = 65532
"""The uid and gid that images run as; the one that distroless images call nonroot."""
PYTHON = "usr/bin/python3.11"

_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
# What remains of a package: everything else is for people, for building, or for installing.
_DROPPED = re.compile(
    r"usr/bin/|usr/sbin/|etc/(?!debian_version|protocols|services|rpc|ethertypes|mime\.types)"
    r"|usr/share/(?!zoneinfo|doc|common-licenses|ca-certificates)"
    r"|usr/share/doc/.*/(?!copyright$)|usr/share/doc/[^/]*/[^/]*/|usr/include/|var/|home/|root/"
    r"|usr/lib/[^/]*/gconv/|usr/lib/valgrind/"
    r"|usr/lib/python3\.11/(ensurepip|idlelib|lib2to3|pydoc_data|tkinter|turtledemo|unittest|venv"
    r"|distutils|test|config-3\.11-[^/]*|__phello__)/|.*/__pycache__/"
)
_KEPT = re.compile(r"usr/bin/python3\.11$|etc/os-release$")

_PASSWD = f"root:x:0:0:root:/:/nonexistent\nberth:x:{USER}:{USER}:berth:/:/nonexistent\n"
_GROUP = f"root:x:0:\nberth:x:{USER}:\n"


def base_tree(packages: Sequence[Package]) -> Tree:
    """The files of the base image.

    Each package's control file stays under var/lib/dpkg/status.d, where scanners look.
    """
    tree: Tree = {
        "etc/group": text(_GROUP),
        "etc/nsswitch.conf": text("hosts: files dns\n"),
        "etc/passwd": text(_PASSWD),
        "tmp": folder(0o1777),
        "usr/bin/python3": link("python3.11"),
        "proc": folder(EXECUTABLE),
        "sys": folder(EXECUTABLE),
        "dev": folder(EXECUTABLE),
    }
    for package in packages:
        for path, entry in package.files.items():
            place = _merged(path)
            if _KEPT.match(place) or not _DROPPED.match(place):
                tree[place] = entry
        name = Parser().parsestr(package.control)["Package"]
        tree[f"var/lib/dpkg/status.d/{name}"] = text(package.control)
    tree["etc/ssl/certs/ca-certificates.crt"] = _certificates(tree)
    tree |= {name: link(f"usr/{name}") for name in _MERGED if _has_folder(tree, f"usr/{name}")}
    return tree


def _merged(path: str) -> str:
    """Where a file lies since /bin, /lib and others are links into /usr."""
    return f"usr/{path}" if path.split("/")[0] in _MERGED else path


def _certificates(tree: Tree) -> Entry:
    """All authorities in one file, as the package's own script would write it."""
    parts = [
        entry.read()
        for path, entry in sorted(tree.items())
        if path.startswith("usr/share/ca-certificates/") and entry.read is not None
    ]
    whole = b"".join(part if part.endswith(b"\n") else part + b"\n" for part in parts)
    return Entry(mode=0o644, read=lambda: whole)


def _has_folder(tree: Tree, path: str) -> bool:
    return any(name.startswith(f"{path}/") for name in tree)
