"""Generates docs/reference/specification.md from the types of the specification."""

import json
from collections.abc import Iterator

from berth.platforms import get_platform
from berth.spec import rules, schema
from berth.spec.hosting import PLATFORM_NAMES, find_readers
from berth.spec.schema import Schema

_INTRODUCTION = """\
# Stack specification

<!-- Generated from infra/berth/spec/ by `python -m tools.generate`. Edit the types instead. -->

A stack is one environment. The keys under `config:` in its `Pulumi.<stack>.yaml` describe it. This
page lists the keys that begin with `berth:`. Keys such as `aws:region` belong to Pulumi providers.

The smallest stack:

```yaml
config:
  berth:platform: local
  berth:models:
    digits:
      versions:
        "1": {}
```

- Unknown keys and values of a wrong type are errors.
- Berth reports all problems at once. Each line contains the file, line, key, value and what to do.
- Put version names in quotes if they look like a number that is not an integer (`"1.10"`).
- The secrets are clients' keys and the URL of a Valkey server. `pulumi config set --secret --path
  'berth:gateway.clients.default.key'` prompts for it and writes it encrypted. Berth rejects a key
  in plaintext, and no message shows its value.
- Editors with the YAML language server complete and check the files. The first line of each file
  refers to [pulumi-stack.schema.json](pulumi-stack.schema.json).

In the tables, `<model>` and similar parts represent a name that you choose, and `[]` represents
each entry of a list. A key without a default is required if its parent is present.
"""

# The term for an entry of each map.
_ENTRIES = {
    "models": "model",
    "versions": "version",
    "traffic": "version",
    "clients": "client",
    "keys": "key",
    "sites": "site",
    "hosts": "host",
    "datasets": "dataset",
    "access": "name",
    "addons": "add-on",
    "node_pools": "pool",
    "node_selector": "label",
    "labels": "label",
    "controller_labels": "label",
    "monitor_labels": "label",
    "tags": "tag",
    "trusted_identities": "name",
}


def reference_text() -> str:
    """Return the content of docs/reference/specification.md."""
    root = schema.sections_schema()
    parts = [_INTRODUCTION, _build_index(root)]
    for name, node in root["properties"].items():
        parts.append(_build_section(name, node, required=name in root["required"]))
    parts.append(_build_rules())
    return "\n".join(parts)


def _build_index(root: Schema) -> str:
    lines = ["| section | platforms | content |", "|---|---|---|"]
    for name, node in root["properties"].items():
        readers = find_readers(name)
        platforms = "all" if readers == PLATFORM_NAMES else ", ".join(readers)
        lines.append(
            f"| [{name}](#berth{name}) | {platforms} | {schema.resolve(node)['description']} |"
        )
    return "\n".join(lines) + "\n"


def _build_section(name: str, node: Schema, *, required: bool) -> str:
    rows = "\n".join(
        f"| `{path}` | {_escape(values)} | {default} | {_escape(description)} |"
        for path, values, default, description in _rows(name, node, required=required)
    )
    return f"## berth:{name}\n\n| key | values | default | meaning |\n|---|---|---|---|\n{rows}\n"


def _rows(path: str, node: Schema, *, required: bool) -> Iterator[tuple[str, str, str, str]]:
    """Return the key, valid values, default and meaning of `path` and of all keys below it."""
    resolved = schema.resolve(node)
    properties = resolved.get("properties", {})
    values = "a map" if properties else schema.describe(resolved)
    default = "" if required else _format_default(node, resolved)
    yield path, values, default, resolved.get("description", "")
    for name, child in properties.items():
        yield from _rows(f"{path}.{name}", child, required=name in resolved.get("required", ()))
    entry = schema.entry_schema(resolved)
    if entry is not None:
        yield from _rows(f"{path}.<{_ENTRIES[path.rpartition('.')[2]]}>", entry, required=True)
    if "items" in resolved:
        yield from _rows(f"{path}[]", resolved["items"], required=True)


def _format_default(node: Schema, resolved: Schema) -> str:
    default = node.get("default", {})
    if default is None:
        return "none"
    return "" if "properties" in resolved else f"`{json.dumps(default)}`"


def _escape(text: str) -> str:
    return text.replace("|", "\\|")


def _build_rules() -> str:
    every = [*rules.RULES, *(rule for name in PLATFORM_NAMES for rule in get_platform(name).rules)]
    lines = "\n".join(f"- {' '.join((rule.__doc__ or '').split())}" for rule in every)
    return f"## Rules that span sections\n\n{lines}\n"
