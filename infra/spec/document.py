"""A stack's configuration before it is typed: plain values, and the line that each key is on."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from infra.spec.errors import Path, Problem, SpecError
from infra.spec.gateway import ENCRYPTED

NAMESPACE = "berth"
# Pulumi's own keys beside `config`.
_PULUMI_KEYS = frozenset(
    {"config", "encryptionsalt", "encryptedkey", "secretsprovider", "environment"}
)


@dataclass
class Document:
    """The configuration of one stack.

    Attributes:
        file: how errors name it.
        sections: `berth:<section>` -> value, with text for every key.
        foreign: the keys of other namespaces (`aws:region`).
        lines: path -> line in the file, first is 1; empty when there is no file to point into.
        secret: paths of values that are encrypted in the file.
        hidden: sections that hold a secret somewhere unknown: their values are not shown.
        problems: what cannot be represented as plain values.
    """

    file: str
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


def read_document(path: FilePath) -> Document:
    """The configuration file at `path`.

    Raises:
        SpecError: no such file, not YAML, or not the form of a Pulumi configuration.
    """
    document = Document(path.name)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SpecError.of(f"{path.name}: there is no such file; {_stacks_beside(path)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError.of(f"{path.name}: cannot be read: {error}") from None
    try:
        content = YAML().load(text)
    except YAMLError as error:
        raise SpecError.of(_syntax(path.name, error)) from None
    content = CommentedMap() if content is None else content
    if not isinstance(content, CommentedMap):
        raise SpecError.of(f"{path.name}:1: not a map; a configuration has the key `config:`")
    unknown = [key for key in content if key not in _PULUMI_KEYS]
    if unknown:
        raise SpecError(
            [
                f"{path.name}:{content.lc.key(key)[0] + 1}: {key}: unknown key; the "
                "specification goes under `config:`, as `berth:models:` and so on"
                for key in unknown
            ]
        )
    config = content.get("config")
    config = CommentedMap() if config is None else config
    if not isinstance(config, CommentedMap):
        raise SpecError.of(f"{path.name}: config: not a map of keys such as `berth:models`")
    for key, value in config.items():
        namespace, _, name = str(key).partition(":")
        if namespace != NAMESPACE or not name:
            document.foreign[str(key)] = value
            continue
        document.lines[(name,)] = config.lc.key(key)[0] + 1
        plain = _plain(value, (name,), document)
        if plain is not None:
            document.sections[name] = plain
    return document


def _plain(node: Any, path: Path, document: Document) -> Any:
    """`node` without YAML's wrappers; notes lines, secrets and unusable keys."""
    if isinstance(node, Mapping):
        if list(node) == ["secure"]:
            document.secret.add(path)
            return ENCRYPTED
        result = {}
        for key, value in node.items():
            step = str(key)
            below = (*path, step)
            if isinstance(node, CommentedMap) and key in node.lc.data:
                document.lines[below] = node.lc.key(key)[0] + 1
            if not isinstance(key, str) and (not isinstance(key, int) or isinstance(key, bool)):
                document.problems.append(
                    Problem(below, f"YAML reads this key as {_kind(key)}; put it in quotes", False)
                )
            result[step] = _plain(value, below, document)
        return result
    if isinstance(node, list):
        return [_plain(value, (*path, index), document) for index, value in enumerate(node)]
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node


def _kind(key: Any) -> str:
    if isinstance(key, float):
        return f"the number {float(key):g}"
    return "nothing" if key is None else f"a {type(key).__name__}"


def _syntax(file: str, error: YAMLError) -> str:
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        return f"{file}:{error.problem_mark.line + 1}: not YAML: {error.problem}"
    return f"{file}: not YAML: {error}"


def _stacks_beside(path: FilePath) -> str:
    names = sorted(_stack_names(path.parent))
    return f"the stacks here are: {', '.join(names)}" if names else "there is no stack here"


def _stack_names(folder: FilePath) -> Iterator[str]:
    for file in folder.glob("Pulumi.*.yaml"):
        yield file.name.removeprefix("Pulumi.").removesuffix(".yaml")
