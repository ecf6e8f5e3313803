"""A stack's configuration before validation: plain values, and the line of each key."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from berth.spec.errors import Path, Problem, SpecError, escape_control
from berth.spec.gateway import ENCRYPTED

NAMESPACE = "berth"
PULUMI_KEYS = ("encryptionsalt", "encryptedkey", "secretsprovider", "environment")
"""Pulumi's own keys next to `config`."""


@dataclass
class Document:
    """The configuration of one stack.

    Attributes:
        file: File name for error messages.
        stack: Name of the stack.
        sections: Values of the keys `berth:<section>` by section. Every key is text.
        foreign: Values of the keys in other namespaces, such as `aws:region`.
        lines: Line number in the file by path, starting at 1. Empty if there is no file.
        secrets: Paths of the values that are encrypted in the file.
        hidden: Sections that contain a secret at an unknown path. Errors do not show their values.
        problems: Values that have no plain representation.
    """

    file: str
    stack: str
    sections: dict[str, Any] = field(default_factory=dict)
    foreign: dict[str, Any] = field(default_factory=dict)
    lines: dict[Path, int] = field(default_factory=dict)
    secrets: set[Path] = field(default_factory=set)
    hidden: set[str] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)

    def line(self, path: Path) -> int | None:
        """Return the line of the key at `path`, or of its nearest ancestor in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)

    def value(self, path: Path) -> Any:
        """Return the value at `path`, or None if there is no value."""
        node: Any = self.sections
        for step in path:
            try:
                node = node[step]
            except (KeyError, IndexError, TypeError):
                return None
        return node

    def settings_of(self, namespace: str) -> dict[str, Any]:
        """Return the keys of another namespace, without their prefix."""
        return {
            key.partition(":")[2]: value
            for key, value in self.foreign.items()
            if key.startswith(f"{namespace}:")
        }


def file_name(stack: str) -> str:
    """Return the name of a stack's configuration file."""
    return f"Pulumi.{stack}.yaml"


def read_document(path: FilePath) -> Document:
    """Read the configuration file at `path`.

    Raises:
        SpecError: If the file is missing, is not YAML, or is not a Pulumi configuration.
    """
    content = _read_yaml(path)
    unknown = [key for key in content if key not in ("config", *PULUMI_KEYS)]
    if unknown:
        raise SpecError(
            [
                f"{path.name}:{content.lc.key(key)[0] + 1}: {escape_control(str(key))}: unknown "
                "key; move Berth's keys under config: (the other top-level keys are Pulumi's: "
                f"{', '.join(PULUMI_KEYS)})"
                for key in unknown
            ]
        )
    config = content.get("config")
    config = CommentedMap() if config is None else config
    if not isinstance(config, CommentedMap):
        raise SpecError.of(
            f"{path.name}:{content.lc.key('config')[0] + 1}: config: is not valid; use a map with "
            "keys such as berth:models"
        )
    document = Document(path.name, stack=_stack_name(path))
    for key, value in config.items():
        namespace, _, name = str(key).partition(":")
        if namespace != NAMESPACE:
            document.foreign[str(key)] = value
            continue
        document.lines[(name,)] = config.lc.key(key)[0] + 1
        plain = _to_plain(value, (name,), document)
        if plain is not None:  # Pulumi also drops a key without a value.
            document.sections[name] = plain
    return document


def _read_yaml(path: FilePath) -> CommentedMap:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SpecError.of(f"{path.name}: file not found; {_list_stacks(path)}") from None
    except OSError as error:
        raise SpecError.of(
            f"{path.name}: cannot read the file ({error.strerror}); check its type and permissions"
        ) from None
    except UnicodeDecodeError as error:
        raise SpecError.of(
            f"{path.name}: the file is not UTF-8 text ({error.reason}); save it as UTF-8"
        ) from None
    try:
        content = YAML().load(text)
    except DuplicateKeyError as error:
        # The library's message contains both values, and one could be a secret.
        raise SpecError.of(
            f"{path.name}:{_error_line(error)}: the key is defined twice; remove one of them"
        ) from None
    except MarkedYAMLError as error:
        raise SpecError.of(
            f"{path.name}:{_error_line(error)}: invalid YAML: {error.problem}"
        ) from None
    except YAMLError:
        raise SpecError.of(
            f"{path.name}: invalid YAML: it contains characters that YAML does not allow"
        ) from None
    if content is None:
        return CommentedMap()
    if not isinstance(content, CommentedMap):
        raise SpecError.of(f"{path.name}:1: the file is not a map; add the key config:")
    return content


def _error_line(error: MarkedYAMLError) -> int:
    return error.problem_mark.line + 1 if error.problem_mark is not None else 1


def _to_plain(node: Any, path: Path, document: Document) -> Any:
    """Convert `node` to plain values; record lines, secrets and ambiguous values."""
    if isinstance(node, Mapping):
        if list(node) == ["secure"]:
            document.secrets.add(path)
            return ENCRYPTED
        return _to_plain_map(node, path, document)
    if isinstance(node, list):
        return [_to_plain(value, (*path, index), document) for index, value in enumerate(node)]
    if isinstance(node, datetime.date):
        document.problems.append(Problem(path, "is read as a date; put it in quotes", False))
        return None
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node


def _to_plain_map(node: Mapping[Any, Any], path: Path, document: Document) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in node.items():
        step = str(key)
        child = (*path, step)
        if isinstance(node, CommentedMap) and key in node.lc.data:
            document.lines[child] = node.lc.key(key)[0] + 1
        if type(key) is not int and not isinstance(key, str):
            # Pulumi and Berth would read 1.10 as 1.1. Pulumi reads 010 as 8, Berth as 10.
            document.problems.append(
                Problem(child, "is a name that YAML may read differently; put it in quotes", False)
            )
        elif step in result:
            document.problems.append(
                Problem(
                    child,
                    "is defined twice: once as text and once as a number; remove one of them",
                    False,
                )
            )
        result[step] = _to_plain(value, child, document)
    return result


def _stack_name(path: FilePath) -> str:
    return path.name.removeprefix("Pulumi.").removesuffix(".yaml")


def _list_stacks(path: FilePath) -> str:
    names = sorted(_stack_name(file) for file in path.parent.glob("Pulumi.*.yaml"))
    if not names:
        return f"{path.parent} contains no stacks; create the file, or run 'berth init NAME'"
    return f"existing stacks: {', '.join(names)}"
