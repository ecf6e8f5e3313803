"""Build a component's arguments from the dictionaries that a component host passes."""

import dataclasses
import inspect
from collections.abc import Awaitable, Mapping, Sequence
from enum import Enum
from types import NoneType, UnionType
from typing import Any, ForwardRef, TypeVar, Union, get_args, get_origin

import pulumi

Args = TypeVar("Args")


class ArgumentError(ValueError):
    """Arguments of a component are invalid.

    Attributes:
        problems: The path of each invalid argument, such as `models.digits.traffic`, and the
            reason.
    """

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        super().__init__("\n".join(f"{path}: {reason}" for path, reason in problems))
        self.problems = list(problems)


def parse_args(args_type: type[Args], args: Args | Mapping[str, Any]) -> Args:
    """Return a component's arguments as an `args_type`.

    A Python program passes an `args_type`. A component host, which runs components for programs in
    every Pulumi language, passes nested dictionaries in which each number is a float.
    """
    if isinstance(args, args_type):
        return args
    if not isinstance(args, Mapping):
        raise TypeError(f"Expected {args_type.__name__} or a dictionary, got {type(args).__name__}")
    return _build(args_type, args)


def _build(args_type: type[Args], values: Mapping[str, Any]) -> Args:
    hints = inspect.get_annotations(args_type)
    # A host omits optional values. Pass None for those that have no default.
    omitted = [
        name
        for name, parameter in inspect.signature(args_type).parameters.items()
        if parameter.default is parameter.empty and NoneType in get_args(hints[name])
    ]
    converted = {name: _convert(hints[name], value) for name, value in values.items()}
    return args_type(**(dict.fromkeys(omitted) | converted))


def _convert(hint: Any, value: Any) -> Any:
    if value is None or isinstance(value, pulumi.Output):
        return value
    hint = _get_plain_type(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type) and isinstance(value, Mapping):
        return _build(hint, value)
    origin, parameters = get_origin(hint), get_args(hint)
    if origin in (list, Sequence) and isinstance(value, Sequence) and not isinstance(value, str):
        return [_convert(parameters[0], item) for item in value]
    if origin in (dict, Mapping) and isinstance(value, Mapping):
        return {key: _convert(parameters[1], item) for key, item in value.items()}
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value)
    return value


def _get_plain_type(hint: Any) -> Any:
    """Return T of `T | None` and of `pulumi.Input[T]`."""
    if get_origin(hint) not in (Union, UnionType):
        return hint
    for member in get_args(hint):
        is_output = isinstance(member, ForwardRef) or get_origin(member) is pulumi.Output
        if member is not NoneType and not is_output and get_origin(member) is not Awaitable:
            return member
    return hint
