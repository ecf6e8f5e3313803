"""A stack's configuration file taken back to what an update of its history ran with.

The file is edited in place: what is the same keeps its comments, order and ciphertext, so that
the change reads well in a diff.
"""

import io
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

# A path into the configuration: the key, then the steps under it.
ConfigPath = tuple[str, ...]


@dataclass(frozen=True)
class Restored:
    """The file's new text, and the secrets that have to be encrypted into it."""

    text: str
    secrets: Mapping[ConfigPath, str]


def restored(
    text: str, current: Mapping[str, Any], target: Mapping[str, Any], secret_keys: frozenset[str]
) -> Restored:
    """The configuration file `text` with the values of `target`.

    Args:
        text: the file as it is; its secrets are `secure: <ciphertext>`.
        current: its values with secrets in clear, structured ones as in YAML.
        target: the values to have, likewise; a key that is not in it is removed.
        secret_keys: the keys of `target` that hold a secret somewhere.
    """
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 1_000_000  # never wrap a line that was not
    document = yaml.load(text) or CommentedMap()
    config = document.setdefault("config", CommentedMap())
    secrets: dict[ConfigPath, str] = {}
    for key in [key for key in config if key not in target]:
        del config[key]
    for key, value in target.items():
        _put(config, key, value, current.get(key), (key,), secrets, key in secret_keys)
    stream = io.StringIO()
    yaml.dump(document, stream)
    return Restored(stream.getvalue(), secrets)


def _put(
    node: Any,
    key: Any,
    value: Any,
    clear: Any,
    path: ConfigPath,
    secrets: dict[ConfigPath, str],
    may_be_secret: bool,
) -> None:
    """Set `node[key]` to `value`, touching nothing that is the same already."""
    old = node.get(key)
    if may_be_secret and isinstance(value, str) and (old is None or _is_secure(old)):
        # History tells which key holds a secret, not where in it: a text that is new under such
        # a key is encrypted rather than risked in clear.
        if clear != value:
            secrets[path] = value
        return
    if isinstance(value, Mapping) and old is None:
        old = node[key] = CommentedMap()
    if isinstance(value, Mapping) and isinstance(old, MutableMapping):
        below = clear if isinstance(clear, Mapping) else {}
        names = {str(name): name for name in old}
        for gone in [name for text, name in names.items() if text not in value]:
            del old[gone]
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
    elif not _same(old, value) or key not in node:
        node[key] = value


def _is_secure(node: Any) -> bool:
    return isinstance(node, Mapping) and list(node) == ["secure"]


def _same(old: Any, value: Any) -> bool:
    """Whether YAML's `old` is what Pulumi reports as `value`: top-level scalars as strings."""
    if isinstance(value, str) and isinstance(old, bool):
        return value == str(old).lower()
    if isinstance(value, str) and isinstance(old, int | float):
        return value == str(old)
    return bool(old == value)
