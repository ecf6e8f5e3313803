"""The reference of the specification, docs/reference/specification.md, as Markdown."""

import json
from collections.abc import Iterator

from berth.platforms import get_platform
from berth.spec import rules, shape
from berth.spec.hosting import PLATFORM_NAMES, find_readers
from berth.spec.shape import Schema

_INTRODUCTION = """\
# The specification of a stack

<!-- Generated from infra/berth/spec/ by `python -m tools.generate`. Edit the types instead. -->

A stack is one environment: what stands under `config:` in its `Pulumi.<stack>.yaml`. The keys
that begin with `berth:` are described here; `aws:region` and such belong to Pulumi's providers.
The smallest stack:

```yaml
config:
  berth:platform: local
  berth:models:
    digits:
      versions:
        "1": {}
```

- Unknown keys are refused, and so is a value of another type than the one given here.
- All problems are told at once, each on a line of its own with file, line, key, value and what is
  allowed.
- Names of versions that look like other numbers than whole ones (`"1.10"`) need quotes.
- The one secret is a client's key. `pulumi config set --secret --path
  'berth:gateway.clients.default.key'` asks for it and writes it encrypted; a key in clear is
  refused, and no message shows its value.
- Editors that know the YAML language server complete and check the files by
  [pulumi-stack.schema.json](pulumi-stack.schema.json), which the first line of each file names.

In the tables `<model>` and the like stand for a name of your choice, and `[]` for each entry of a
list. A key without a default is needed where what it lies in is given.
"""

# What an entry of a map is called.
_ENTRIES = {
    "models": "model",
    "versions": "version",
    "traffic": "version",
    "clients": "client",
    "sites": "site",
    "datasets": "dataset",
    "access": "name",
    "addons": "add-on",
    "node_pools": "pool",
    "node_selector": "label",
    "labels": "label",
    "tags": "tag",
}


def reference_text() -> str:
    """docs/reference/specification.md."""
    root = shape.schema()
    parts = [_INTRODUCTION, _index(root)]
    for name, node in root["properties"].items():
        parts.append(_section(name, node, needed=name in root["required"]))
    parts.append(_rules())
    return "\n".join(parts)


def _index(root: Schema) -> str:
    lines = ["| section | platforms | |", "|---|---|---|"]
    for name, node in root["properties"].items():
        readers = find_readers(name)
        platforms = "all" if readers == PLATFORM_NAMES else ", ".join(readers)
        lines.append(f"| [{name}](#berth{name}) | {platforms} | {node['description']} |")
    return "\n".join(lines) + "\n"


def _section(name: str, node: Schema, *, needed: bool) -> str:
    rows = "\n".join(
        f"| `{path}` | {_escaped(allowed)} | {default} | {_escaped(description)} |"
        for path, allowed, default, description in _rows(name, node, needed=needed)
    )
    return f"## berth:{name}\n\n| key | allowed | default | meaning |\n|---|---|---|---|\n{rows}\n"


def _rows(path: str, node: Schema, *, needed: bool) -> Iterator[tuple[str, str, str, str]]:
    """Key, what is allowed, default and meaning: of `path`, then of all that is under it."""
    found = shape.resolved(node)
    properties = found.get("properties", {})
    allowed = "a map" if properties else shape.allowed(found)
    default = "" if needed else _default(node, found)
    yield path, allowed, default, found.get("description", "")
    for name, below in properties.items():
        yield from _rows(f"{path}.{name}", below, needed=name in found.get("required", ()))
    each = shape.entry(found)
    if each is not None:
        entry = _ENTRIES[path.rpartition(".")[2]]
        yield from _rows(f"{path}.<{entry}>", each, needed=True)
    if "items" in found:
        yield from _rows(f"{path}[]", found["items"], needed=True)


def _default(node: Schema, found: Schema) -> str:
    default = node["default"]
    if default is None:
        return "none"
    return "" if "properties" in found else f"`{json.dumps(default)}`"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _rules() -> str:
    found = [*rules.RULES, *(rule for name in PLATFORM_NAMES for rule in get_platform(name).rules)]
    lines = "\n".join(f"- {' '.join((rule.__doc__ or '').split())}" for rule in found)
    return f"## Rules that span sections\n\n{lines}\n"
