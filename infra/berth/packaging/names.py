"""Checks the names of models and versions with the rules of the specification."""

from typing import Any

from pydantic import TypeAdapter, ValidationError

from berth.packaging.errors import PackageError
from berth.spec.fields import Name, VersionName

_NAME: TypeAdapter[str] = TypeAdapter(Name)
_VERSION: TypeAdapter[str] = TypeAdapter(VersionName)


def check_name(name: str) -> None:
    """Check that a stack can host a model with this name.

    Raises:
        PackageError: If the specification does not allow `name`.
    """
    _check(_NAME, "name", name)


def check_version(version: str) -> None:
    """Check that a stack can host a version with this name.

    Raises:
        PackageError: If the specification does not allow `version`.
    """
    _check(_VERSION, "version", version)


def _check(rule: TypeAdapter[Any], argument: str, value: str) -> None:
    try:
        rule.validate_python(value)
    except ValidationError as error:
        raise PackageError(f"{argument} {value!r}: {error.errors()[0]['msg']}") from None
