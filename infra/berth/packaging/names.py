"""What a model and a version may be called: as the specification has it."""

from typing import Any

from pydantic import TypeAdapter, ValidationError

from berth.packaging.errors import PackageError
from berth.spec.fields import Name, VersionName

_NAME: TypeAdapter[str] = TypeAdapter(Name)
_VERSION: TypeAdapter[str] = TypeAdapter(VersionName)


def check_name(name: str) -> None:
    """Refuse a model name that no stack could host.

    Raises:
        PackageError: `name` breaks the specification's rule.
    """
    _check(_NAME, "name", name)


def check_version(version: str) -> None:
    """Refuse a version that no stack could host.

    Raises:
        PackageError: `version` breaks the specification's rule.
    """
    _check(_VERSION, "version", version)


def _check(rule: TypeAdapter[Any], what: str, value: str) -> None:
    try:
        rule.validate_python(value)
    except ValidationError as error:
        raise PackageError(f"{what} {value!r}: {error.errors()[0]['msg']}") from None
