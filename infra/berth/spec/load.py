"""From a stack's configuration to its specification: from the file, or through Pulumi."""

import json
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any

import pulumi

from berth.spec.document import NAMESPACE, Document, file_name, read_document
from berth.spec.errors import Path, Problem
from berth.spec.hosting import HostingSpec
from berth.spec.may_differ import with_values_from
from berth.spec.typed import typed


def load_file(path: FilePath) -> HostingSpec:
    """The specification in a configuration file, which is left as it is.

    A secret in it is accepted unread: its value is `berth.spec.ENCRYPTED`.

    Raises:
        SpecError: with every problem of the file.
    """
    document = read_document(path)
    document.problems += _misplaced_secrets(document)
    return typed(document)


def load_with_values_from(path: FilePath, other: FilePath) -> HostingSpec:
    """The specification in `path`, with the sizes of the one in `other`; what `path` takes for a
    size is said by its `parity.may_differ`.

    Raises:
        SpecError: with every problem of one of the files, or of the two together.
    """
    sizes = list(load_file(path).parity.may_differ)
    load_file(other)
    document, donor = read_document(path), read_document(other)
    document.sections = with_values_from(document.sections, donor.sections, sizes)
    return typed(document)


def load_config(stack: str) -> HostingSpec:
    """The specification of the running Pulumi program, with secrets in clear.

    Raises:
        SpecError: with every problem of the configuration.
    """
    document = Document(file_name(stack), stack)
    # Pulumi's own Config asks key by key; unknown keys show only in the whole of it.
    config = {**pulumi.runtime.get_config_env(), **pulumi.runtime.config.CONFIG.get()}
    secret = set(pulumi.runtime.get_config_secret_keys_env())
    for key, text in config.items():
        namespace, _, name = key.partition(":")
        if namespace != NAMESPACE:
            document.foreign[key] = _decoded(text)
            continue
        if key in secret or pulumi.runtime.is_config_secret(key):
            document.hidden.add(name)
        if text != "":  # a key without a value
            document.sections[name] = _decoded(text)
    if "gateway" not in document.hidden:
        document.problems += [_not_a_secret(path) for path in _client_keys(document)]
    return typed(document)


def _decoded(text: str) -> Any:
    """Pulumi hands structured values over as JSON, and text as it is."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _client_keys(document: Document) -> Iterator[Path]:
    """Where a client has been given a key."""
    clients = document.value(("gateway", "clients"))
    for name, client in clients.items() if isinstance(clients, dict) else ():
        if isinstance(client, dict) and client.get("key") is not None:
            yield ("gateway", "clients", name, "key")


def _misplaced_secrets(document: Document) -> Iterator[Problem]:
    keys = set(_client_keys(document))
    for path in document.secret - keys:
        yield Problem(path, "is a secret; only a client's key may be one", False)
    for path in keys - document.secret:
        yield _not_a_secret(path)


def _not_a_secret(path: Path) -> Problem:
    return Problem(
        path,
        "stands in clear; take it out, choose another, and set that with "
        f"`pulumi config set --secret --path 'berth:gateway.clients.{path[2]}.key'`",
        False,
    )
