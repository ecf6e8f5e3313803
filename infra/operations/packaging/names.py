"""What a model and a version may be called.

A model's name becomes part of DNS names and of URL paths; a version becomes part of labels and
of URL paths. The two rules are those of Kubernetes for names and for label values.
"""

import re

from infra.operations.packaging.errors import PackageError

MAX_LENGTH = 63
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")


def check_name(name: str) -> None:
    """Refuse a model name that is not a DNS label.

    Raises:
        PackageError: `name` breaks the rule.
    """
    if len(name) > MAX_LENGTH or not _NAME.fullmatch(name):
        raise PackageError(
            f"name {name!r}: a model's name is 1 to {MAX_LENGTH} characters of a-z, 0-9 and '-', "
            "first and last a letter or digit (for example breast-cancer)"
        )


def check_version(version: str) -> None:
    """Refuse a version that is not a label value.

    Raises:
        PackageError: `version` breaks the rule.
    """
    if len(version) > MAX_LENGTH or not _VERSION.fullmatch(version):
        raise PackageError(
            f"version {version!r}: a version is 1 to {MAX_LENGTH} characters of letters, digits, "
            "'-', '_' and '.', first and last a letter or digit (for example 2 or 2026.1)"
        )
