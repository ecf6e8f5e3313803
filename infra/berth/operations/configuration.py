"""Changes of a stack's configuration file: values of an earlier update, and traffic.

The file is edited in place. Unchanged values keep their comments, order and ciphertext, so that
the change is easy to read in a diff.
"""

import io
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
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
    return RestoredConfig(dump_configuration(yaml, document), secrets)


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
    return dump_configuration(yaml, document)


def load_configuration(text: str) -> tuple[YAML, Any]:
    """Return the document in a configuration file, and the YAML that writes it back."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 1_000_000  # Never wrap a line.
    return yaml, yaml.load(text) or CommentedMap()


def dump_configuration(yaml: YAML, document: Any) -> str:
    """Return the text of a document from `load_configuration`."""
    stream = io.StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()


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
