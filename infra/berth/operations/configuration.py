"""Changes of a stack's configuration file: values of an earlier update, and traffic.

The file is edited in place. Unchanged values keep their comments, order and ciphertext, so that
the change is easy to read in a diff.
"""

import io
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from berth.errors import OperationError

# A path into the configuration: the key, then the steps under it.
ConfigPath = tuple[str, ...]

# An encrypted value elsewhere, such as a quota's period, would be rejected.
_SECRET_FIELDS = ("key", "valkey_url")


@dataclass(frozen=True)
class RestoredConfig:
    """The file's new text, and the secrets that must be encrypted into it."""

    text: str
    secrets: Mapping[ConfigPath, str]


def restore_config(
    text: str, current: Mapping[str, Any], target: Mapping[str, Any], secret_keys: frozenset[str]
) -> RestoredConfig:
    """Return the configuration file `text` with the values of `target`.

    Args:
        text: The current file. Its secrets are `secure: <ciphertext>`.
        current: Its values with secrets in plaintext, structured as in YAML.
        target: The new values, structured likewise. Keys that it lacks are removed.
        secret_keys: The keys of `target` that contain a secret.
    """
    yaml, document = load_configuration(text)
    config = document.setdefault("config", CommentedMap())
    secrets: dict[ConfigPath, str] = {}
    for key in [key for key in config if key not in target]:
        del config[key]
    for key, value in target.items():
        _put(config, key, value, current.get(key), (key,), secrets, key in secret_keys)
    return RestoredConfig(dump_configuration(yaml, document, text), secrets)


def set_traffic(text: str, model: str, traffic: Mapping[str, int], shadow: str | None) -> str:
    """Return the configuration file `text` with another traffic split and shadow of a model.

    A version in `traffic` that the model does not have is added with default settings.

    Raises:
        OperationError: If the file does not contain the model.
    """
    yaml, document = load_configuration(text)
    try:
        entry = document["config"]["berth:models"][model]
        versions = entry["versions"]
    except (LookupError, TypeError) as error:
        raise OperationError(f"The configuration file has no berth:models.{model}.versions.") from (
            error
        )
    known = {str(version) for version in versions}
    for version in traffic:
        if version not in known:
            versions[DoubleQuotedScalarString(version)] = CommentedMap()
    split = CommentedMap(
        {DoubleQuotedScalarString(version): weight for version, weight in traffic.items()}
    )
    split.fa.set_flow_style()
    entry["traffic"] = split
    if shadow is not None:
        entry["shadow"] = DoubleQuotedScalarString(shadow)
    else:
        entry.pop("shadow", None)
    return dump_configuration(yaml, document, text)


def load_configuration(text: str) -> tuple[YAML, Any]:
    """Return the document in a configuration file, and the YAML that writes it back."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 1_000_000  # Never wrap a line.
    # ruamel.yaml would write [{region: x}] as [region: x], which few readers know.
    yaml.brace_single_entry_mapping_in_flow_sequence = True
    mapping, offset = _find_indentation(text)
    yaml.indent(mapping=mapping, sequence=offset + 2, offset=offset)
    return yaml, yaml.load(text) or CommentedMap()


def dump_configuration(yaml: YAML, document: Any, text: str) -> str:
    """Return the configuration file `text` with the content of a document.

    ruamel.yaml writes the whole document in its own form. Only the lines that an edit changes are
    taken from it; all others keep their form.

    Args:
        yaml: What `load_configuration` returned for `text`.
        document: Likewise, after the edit.
    """
    edited = _dump(yaml, document)
    _, unedited = load_configuration(text)
    result = _merge_lines(
        *(part.splitlines(keepends=True) for part in (_dump(yaml, unedited), text, edited))
    )
    try:
        is_same = YAML(typ="safe").load(result) == YAML(typ="safe").load(edited)
    except YAMLError:
        is_same = False
    # Lines in two forms can have another meaning together, such as with mixed indentation.
    return result if is_same else edited


def _dump(yaml: YAML, document: Any) -> str:
    stream = io.StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()


def _find_indentation(text: str) -> tuple[int, int]:
    """Return by how much a file indents mappings, and lists below their key."""
    mapping, offset = 2, 0
    indents = [
        (len(line) - len(line.lstrip(" ")), line.lstrip(" "))
        for line in text.splitlines()
        if line.strip() and not line.lstrip().startswith("#")
    ]
    for indent, content in indents:
        if indent and not content.startswith("- "):
            mapping = indent
            break
    for (above, key), (indent, content) in pairwise(indents):
        if content.startswith("- ") and not key.startswith("- "):
            offset = max(indent - above, 0)
            break
    return mapping, offset


def _merge_lines(base: list[str], form: list[str], edited: list[str]) -> str:
    """Return `form` with the lines that differ between `base` and `edited`.

    Where both differ from `base` in the same lines, those of `edited` are taken.
    """
    changes = sorted([*_find_forms(base, form), *_find_edits(base, edited)])
    result: list[str] = []
    position = 0
    while changes:
        start, end, *_ = changes[0]
        group = [changes.pop(0)]
        while changes and (changes[0][0] < end or changes[0][0] == start):
            end = max(end, changes[0][1])
            group.append(changes.pop(0))
        result += base[position:start]
        has_edit = any(is_edit for _, _, is_edit, _ in group)
        position = start
        for first, last, is_edit, lines in group:
            if is_edit == has_edit:
                result += [*base[position:first], *lines]
                position = last
        result += base[position:end]
        position = end
    return "".join([*result, *base[position:]])


# The first line that changes and the one after the last, whether it is an edit, and the new lines.
_Change = tuple[int, int, bool, list[str]]


def _find_edits(base: list[str], edited: list[str]) -> Iterator[_Change]:
    for kind, start, end, first, last in _match(base, edited):
        if kind != "equal":
            yield start, end, True, edited[first:last]


def _find_forms(base: list[str], form: list[str]) -> Iterator[_Change]:
    """Yield where the forms differ, line by line where only spaces do."""
    dense, others = (["".join(line.split()) for line in lines] for lines in (base, form))
    for kind, start, end, first, last in _match(dense, others):
        if kind != "equal":
            yield start, end, False, form[first:last]
            continue
        for index in range(end - start):
            if base[start + index] != form[first + index]:
                yield start + index, start + index + 1, False, [form[first + index]]


def _match(first: list[str], second: list[str]) -> Sequence[tuple[str, int, int, int, int]]:
    return SequenceMatcher(None, first, second, autojunk=False).get_opcodes()


def _put(
    node: Any,
    key: Any,
    value: Any,
    plaintext: Any,
    path: ConfigPath,
    secrets: dict[ConfigPath, str],
    may_be_secret: bool,
) -> None:
    """Set `node[key]` to `value` without touching equal values."""
    old = node.get(key)
    is_new_secret = may_be_secret and old is None and can_be_secret(path)
    if isinstance(value, str) and (_is_secure(old) or is_new_secret):
        # The history records which key contains a secret, but not where. New text under such a
        # key is encrypted rather than written in plaintext.
        if plaintext != value:
            secrets[path] = value
        return
    if isinstance(value, Mapping) and old is None:
        old = node[key] = CommentedMap()
    if isinstance(value, Mapping) and isinstance(old, MutableMapping):
        below = plaintext if isinstance(plaintext, Mapping) else {}
        names = {str(name): name for name in old}
        for removed in [name for text, name in names.items() if text not in value]:
            del old[removed]
        for name, entry in value.items():
            _put(
                old,
                names.get(name, name),
                entry,
                below.get(name),
                (*path, name),
                secrets,
                may_be_secret,
            )
    elif not _is_same(old, value) or key not in node:
        node[key] = value


def can_be_secret(path: ConfigPath) -> bool:
    """Return whether the value at a path can be a secret. In Berth's sections, few can."""
    return not path[0].startswith("berth:") or path[-1] in _SECRET_FIELDS


def _is_secure(node: Any) -> bool:
    return isinstance(node, Mapping) and list(node) == ["secure"]


def _is_same(old: Any, value: Any) -> bool:
    """Return whether YAML's `old` equals Pulumi's `value`: top-level scalars are strings."""
    if isinstance(value, str) and isinstance(old, bool):
        return value == str(old).lower()
    if isinstance(value, str) and isinstance(old, int | float):
        return value == str(old)
    return bool(old == value)
