"""The hardened base image: Python, the Debian files that it needs, and nothing else."""

import re
from collections.abc import Sequence
from email.parser import Parser

from pulumi_berth.images.debian import Package
from pulumi_berth.oci.tree import EXECUTABLE, Entry, Tree, directory, symlink, text_file

USER = 65532
"""The uid and gid of the containers. Distroless images call this user `nonroot`."""
PYTHON = "usr/bin/python3.11"

# Debian replaced these top-level directories with links into /usr.
_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
# Files for interactive use, for building and for installation are dropped.
_DROPPED = re.compile(
    r"usr/bin/|usr/sbin/|etc/(?!debian_version|protocols|services|rpc|ethertypes|mime\.types)"
    r"|usr/share/(?!zoneinfo|doc|common-licenses|ca-certificates)"
    r"|usr/share/doc/.*/(?!copyright$)|usr/share/doc/[^/]*/[^/]*/|usr/include/|var/|home/|root/"
    r"|usr/lib/[^/]*/gconv/|usr/lib/valgrind/"
    r"|usr/lib/python3\.11/(ensurepip|idlelib|lib2to3|pydoc_data|tkinter|turtledemo|unittest|venv"
    r"|distutils|test|config-3\.11-[^/]*|__phello__)/|.*/__pycache__/"
)
_KEPT = re.compile(r"usr/bin/(python3\.11|valkey-server|valkey-check-rdb)$|etc/os-release$")

_PASSWD = f"root:x:0:0:root:/:/nonexistent\nberth:x:{USER}:{USER}:berth:/:/nonexistent\n"
_GROUP = f"root:x:0:\nberth:x:{USER}:\n"


def packages_tree(packages: Sequence[Package]) -> Tree:
    """Return the files that packages add to an image."""
    tree: Tree = {}
    for package in packages:
        for package_path, entry in package.files.items():
            path = _merge(package_path)
            if _KEPT.match(path) or not _DROPPED.match(path):
                tree[path] = entry
        name = Parser().parsestr(package.control)["Package"]
        tree[f"var/lib/dpkg/status.d/{name}"] = text_file(package.control)
    return tree


def base_tree(packages: Sequence[Package]) -> Tree:
    """Return the files of the base image.

    The control file of each package is in var/lib/dpkg/status.d, where scanners look for it.
    """
    tree: Tree = {
        "etc/group": text_file(_GROUP),
        "etc/nsswitch.conf": text_file("hosts: files dns\n"),
        "etc/passwd": text_file(_PASSWD),
        "tmp": directory(0o1777),
        "usr/bin/python3": symlink("python3.11"),
        "proc": directory(EXECUTABLE),
        "sys": directory(EXECUTABLE),
        "dev": directory(EXECUTABLE),
    }
    tree |= packages_tree(packages)
    tree["etc/ssl/certs/ca-certificates.crt"] = _bundle_certificates(tree)
    tree |= {
        name: symlink(f"usr/{name}") for name in _MERGED if _has_directory(tree, f"usr/{name}")
    }
    return tree


def _merge(path: str) -> str:
    """Return the path of a file in a system whose /bin, /lib and others are links into /usr."""
    return f"usr/{path}" if path.split("/")[0] in _MERGED else path


def _bundle_certificates(tree: Tree) -> Entry:
    """Return one file with all certificate authorities, as the package's own script writes it."""
    parts = [
        entry.read()
        for path, entry in sorted(tree.items())
        if path.startswith("usr/share/ca-certificates/") and entry.read is not None
    ]
    bundle = b"".join(part if part.endswith(b"\n") else part + b"\n" for part in parts)
    return Entry(mode=0o644, read=lambda: bundle)


def _has_directory(tree: Tree, path: str) -> bool:
    return any(name.startswith(f"{path}/") for name in tree)
