"""Formats a model card as YAML for readers: ordered keys, tensors and long data on few lines."""

from typing import Any

import msgspec
import yaml

from berth_protocol.model_card import ModelCard

_ORDER = (
    "schema",
    "name",
    "version",
    "description",
    "platform",
    "source",
    "metrics",
    "has_rows",
    "no_rows_reason",
    "inputs",
    "outputs",
    "processing",
    "statistics",
    "operators",
    "files",
    "example_file",
    "example",
)


class _FlowList(list[Any]):
    """A list in flow style: `[1, 2, 3]`."""


class _FlowMap(dict[str, Any]):
    """A mapping in flow style: `{a: 1}`."""


class _Dumper(yaml.SafeDumper):
    """A dumper that supports the flow types and writes no anchors."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


_Dumper.add_representer(
    _FlowList, lambda dumper, data: dumper.represent_sequence("tag:yaml.org,2002:seq", data, True)
)
_Dumper.add_representer(
    _FlowMap,
    lambda dumper, data: dumper.represent_mapping("tag:yaml.org,2002:map", data.items(), True),
)


def format_card(card: ModelCard) -> bytes:
    """Format `card` as YAML. Equal cards give the same bytes."""
    plain: dict[str, Any] = msgspec.to_builtins(card)
    for key in ("inputs", "outputs"):
        plain[key] = [_FlowMap(tensor) for tensor in plain[key]]
    plain["example"] = {"inputs": [_use_flow(tensor) for tensor in card.example["inputs"]]}
    ordered = {key: plain[key] for key in _ORDER if key in plain}
    return yaml.dump(
        ordered, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100, encoding="utf-8"
    )


def _use_flow(tensor: dict[str, Any]) -> dict[str, Any]:
    """Return an input of the example with its lists and mappings in flow style."""
    styles: dict[type, type] = {list: _FlowList, dict: _FlowMap}
    return {key: styles.get(type(value), type(value))(value) for key, value in tensor.items()}
