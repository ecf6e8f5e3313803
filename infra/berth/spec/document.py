"""A stack's configuration before it is typed: plain values, and the line that each key is on."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from berth.spec.errors import Path, Problem, SpecError, one_line
from berth.spec.gateway import ENCRYPTED

NAMESPACE = "berth"
# Pulumi's own keys beside `config`.
PULUMI_KEYS = ("encryptionsalt", "encryptedkey", "secretsprovider", "environment")


@dataclass
class Document:
    """The configuration of one stack.

    Attributes:
        file: how errors name it.
        stack: the stack that it is of.
        sections: `berth:<section>` -> value, with text for every key.
        foreign: the keys of other namespaces (`aws:region`).
        lines: path -> line in the file, first is 1; empty when there is no file to point into.
        secret: paths of values that are encrypted in the file.
        hidden: sections that hold a secret somewhere unknown: their values are not shown.
        problems: what cannot be represented as plain values.
    """

    file: str
    stack: str
    sections: dict[str, Any] = field(default_factory=dict)
    foreign: dict[str, Any] = field(default_factory=dict)
    lines: dict[Path, int] = field(default_factory=dict)
    secret: set[Path] = field(default_factory=set)
    hidden: set[str] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)

    def line(self, path: Path) -> int | None:
        """The line of the key at `path`, or of the nearest key above that is in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)

    def value(self, path: Path) -> Any:
        """The value at `path`; None when there is none."""
        node: Any = self.sections
        for step in path:
            try:
                node = node[step]
            except (KeyError, IndexError, TypeError):
                return None
        return node

    def foreign_of(self, namespace: str) -> dict[str, Any]:
        """The keys of another namespace, without it."""
        return {
            key.partition(":")[2]: value
            for key, value in self.foreign.items()
            if key.startswith(f"{namespace}:")
        }


def file_name(stack: str) -> str:
    """The name of the configuration file of `stack`."""
    return f"Pulumi.{stack}.yaml"


def read_document(path: FilePath) -> Document:
    """The configuration file at `path`.

    Raises:
        SpecError: no such file, not YAML, or not the form of a Pulumi configuration.
    """
    content = _content(path)
    unknown = [key for key in content if key not in ("config", *PULUMI_KEYS)]
    if unknown:
        raise SpecError(
            [
                f"{path.name}:{content.lc.key(key)[0] + 1}: {one_line(str(key))}: unknown key; "
                "what Berth reads stands under config:, and beside that "
                f"{', '.join(PULUMI_KEYS)} are Pulumi's"
                for key in unknown
            ]
        )
    config = content.get("config")
    config = CommentedMap() if config is None else config
    if not isinstance(config, CommentedMap):
        raise SpecError.of(
            f"{path.name}:{content.lc.key('config')[0] + 1}: config: is not allowed; a map with "
            "keys such as berth:models"
        )
    document = Document(path.name, stack=_stack_of(path))
    for key, value in config.items():
        namespace, _, name = str(key).partition(":")
        if namespace != NAMESPACE:
            document.foreign[str(key)] = value
            continue
        document.lines[(name,)] = config.lc.key(key)[0] + 1
        plain = _plain(value, (name,), document)
        if plain is not None:  # a key without a value, which Pulumi drops too
            document.sections[name] = plain
    return document


def _content(path: FilePath) -> CommentedMap:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SpecError.of(f"{path.name}: there is no such file; {_stacks_beside(path)}") from None
    except OSError as error:
        raise SpecError.of(f"{path.name}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SpecError.of(f"{path.name}: is not UTF-8 text: {error.reason}") from None
    try:
        content = YAML().load(text)
    except DuplicateKeyError as error:
        # The error's own text has the values, and one could be a secret.
        raise SpecError.of(f"{path.name}:{_mark(error)}: the same key stands twice") from None
    except MarkedYAMLError as error:
        raise SpecError.of(f"{path.name}:{_mark(error)}: not YAML: {error.problem}") from None
    except YAMLError:
        raise SpecError.of(f"{path.name}: not YAML: it has characters that YAML forbids") from None
    if content is None:
        return CommentedMap()
    if not isinstance(content, CommentedMap):
        raise SpecError.of(f"{path.name}:1: is no map; a configuration has the key config:")
    return content


def _mark(error: MarkedYAMLError) -> int:
    return error.problem_mark.line + 1 if error.problem_mark is not None else 1


def _plain(node: Any, path: Path, document: Document) -> Any:
    """`node` without YAML's wrappers; notes lines, secrets and what is ambiguous."""
    if isinstance(node, Mapping):
        if list(node) == ["secure"]:
            document.secret.add(path)
            return ENCRYPTED
        return _plain_map(node, path, document)
    if isinstance(node, list):
        return [_plain(value, (*path, index), document) for index, value in enumerate(node)]
    if isinstance(node, datetime.date):
        document.problems.append(Problem(path, "is a date to YAML; put it in quotes", False))
        return None
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node


def _plain_map(node: Mapping[Any, Any], path: Path, document: Document) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in node.items():
        step = str(key)
        below = (*path, step)
        if isinstance(node, CommentedMap) and key in node.lc.data:
            document.lines[below] = node.lc.key(key)[0] + 1
        if type(key) is not int and not isinstance(key, str):
            # 1.10 would become 1.1, 010 become 8 in Pulumi and 10 here.
            document.problems.append(
                Problem(below, "is a name that YAML may read otherwise; put it in quotes", False)
            )
        elif step in result:
            document.problems.append(Problem(below, "stands twice, as text and number", False))
        result[step] = _plain(value, below, document)
    return result


def _stack_of(path: FilePath) -> str:
    return path.name.removeprefix("Pulumi.").removesuffix(".yaml")


def _stacks_beside(path: FilePath) -> str:
    names = sorted(_stack_of(file) for file in path.parent.glob("Pulumi.*.yaml"))
    return f"the stacks here are {', '.join(names)}" if names else "there is no stack here"
