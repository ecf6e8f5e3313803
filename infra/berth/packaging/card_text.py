"""The model card as text: the keys in a reader's order, tensors and long data on few lines."""

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
    "inputs",
    "outputs",
    "files",
    "example",
)


class _Flow(list[Any]):
    """A list that is written in one run, `[1, 2, 3]`."""


class _FlowMap(dict[str, Any]):
    """A mapping that is written in one run, `{a: 1}`."""


class _Dumper(yaml.SafeDumper):
    """SafeDumper that knows the two above and writes no anchors."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


_Dumper.add_representer(
    _Flow, lambda dumper, data: dumper.represent_sequence("tag:yaml.org,2002:seq", data, True)
)
_Dumper.add_representer(
    _FlowMap,
    lambda dumper, data: dumper.represent_mapping("tag:yaml.org,2002:map", data.items(), True),
)


def card_text(card: ModelCard) -> bytes:
    """`card` as YAML, the same bytes for the same card."""
    plain: dict[str, Any] = msgspec.to_builtins(card)
    for key in ("inputs", "outputs"):
        plain[key] = [_FlowMap(tensor) for tensor in plain[key]]
    plain["example"] = {
        "inputs": [
            tensor | {"shape": _Flow(tensor["shape"]), "data": _Flow(tensor["data"])}
            for tensor in card.example["inputs"]
        ]
    }
    ordered = {key: plain[key] for key in _ORDER if key in plain}
    return yaml.dump(
        ordered, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100, encoding="utf-8"
    )
