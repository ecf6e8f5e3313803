"""Loads the specification of a stack, from its file or from the running Pulumi program."""

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any

from berth.spec.document import NAMESPACE, Document, file_name, read_document
from berth.spec.errors import Path, Problem
from berth.spec.gateway import ENCRYPTED
from berth.spec.hosting import HostingSpec
from berth.spec.may_differ import copy_values
from berth.spec.validation import validate_document


def load_file(path: FilePath) -> HostingSpec:
    """Load the specification from a configuration file. The file is not changed.

    Secrets are not decrypted: their value is `berth.spec.ENCRYPTED`.

    Raises:
        SpecError: If the file has problems. The error lists all of them.
    """
    document = read_document(path)
    document.problems += _misplaced_secrets(document)
    return validate_document(document)


def load_with_values_from(path: FilePath, other: FilePath) -> HostingSpec:
    """Load the specification in `path` with some of the values in `other`.

    `parity.may_differ` of `path` lists the keys whose values come from `other`.

    Raises:
        SpecError: If one of the files, or the combination, has problems.
    """
    patterns = list(load_file(path).parity.may_differ)
    load_file(other)
    document, source = read_document(path), read_document(other)
    document.sections = copy_values(document.sections, source.sections, patterns)
    return validate_document(document)


def load_recorded(
    stack: str, config: Mapping[str, Any], secret_keys: Collection[str]
) -> HostingSpec:
    """Load the specification that an update recorded.

    Args:
        config: Values by key, such as `berth:models`, structured as in YAML.
        secret_keys: Keys that contain a secret. The result has their defaults instead.

    Raises:
        SpecError: If the configuration has problems, such as after an upgrade of Berth.
    """
    document = Document(f"the recorded configuration of stack '{stack}'", stack)
    for key, value in config.items():
        namespace, _, name = key.partition(":")
        if key in secret_keys or value in (None, ""):
            continue
        plain = _decode(value) if isinstance(value, str) else value
        if namespace == NAMESPACE:
            document.sections[name] = plain
        else:
            document.foreign[key] = plain
    return validate_document(document)


def load_config(stack: str) -> HostingSpec:
    """Load the specification of the running Pulumi program, with secrets in plaintext.

    Raises:
        SpecError: If the configuration has problems. The error lists all of them.
    """
    # Import lazily: pulumi takes longer to import than most commands run.
    import pulumi

    document = Document(file_name(stack), stack)
    # pulumi.Config reads single keys. Only the complete configuration shows unknown keys.
    config = {**pulumi.runtime.get_config_env(), **pulumi.runtime.config.CONFIG.get()}
    secret_keys = set(pulumi.runtime.get_config_secret_keys_env())
    for key, text in config.items():
        namespace, _, name = key.partition(":")
        if namespace != NAMESPACE:
            document.foreign[key] = _decode(text)
            continue
        if key in secret_keys or pulumi.runtime.is_config_secret(key):
            document.hidden.add(name)
        if text != "":  # Ignore a key without a value.
            document.sections[name] = _decode(text)
    if "gateway" not in document.hidden:
        document.problems += [_plaintext_secret(path) for path in _secret_paths(document)]
    return validate_document(document)


def _decode(text: str) -> Any:
    """Decode a value: Pulumi passes structured values as JSON and text unchanged."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _secret_paths(document: Document) -> Iterator[Path]:
    """Return the paths of the values that must be secrets: API keys, and a URL with a password."""
    url = document.value(("gateway", "limits", "valkey_url"))
    if isinstance(url, str) and ("@" in url or url == ENCRYPTED):
        yield ("gateway", "limits", "valkey_url")
    clients = document.value(("gateway", "clients"))
    for name, client in clients.items() if isinstance(clients, dict) else ():
        if not isinstance(client, dict):
            continue
        if client.get("key") is not None:
            yield ("gateway", "clients", name, "key")
        keys = client.get("keys")
        for key_name, key in keys.items() if isinstance(keys, dict) else ():
            if isinstance(key, dict) and key.get("key") is not None:
                yield ("gateway", "clients", name, "keys", key_name, "key")


def _misplaced_secrets(document: Document) -> Iterator[Problem]:
    expected = set(_secret_paths(document))
    for path in document.secrets - expected:
        yield Problem(
            path,
            "is a secret; only a client's keys and gateway.limits.valkey_url may be secrets, so "
            "use a plain value",
            False,
        )
    for path in expected - document.secrets:
        yield _plaintext_secret(path)


def _plaintext_secret(path: Path) -> Problem:
    kind = "password" if path[-1] == "valkey_url" else "key"
    return Problem(
        path,
        f"is in plaintext; remove it, choose another {kind}, and set it with "
        f"`pulumi config set --secret --path 'berth:{'.'.join(map(str, path))}'`",
        False,
    )
