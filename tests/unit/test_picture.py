"""The picture of a stack: boxes, what stands on what, and the one in docs/."""

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import yaml

from berth.operations.picture import draw, svg
from berth.operations.picture_plan import Box, Picture, picture
from tests.repository import REPOSITORY


def _resource(kind: str, name: str, *uses: str, parent: str = "stack") -> dict[str, Any]:
    return {"type": kind, "name": name, "urn": name, "parent": parent, "uses": list(uses)}


def _boxes(drawn: Picture) -> dict[str, Box]:
    return {box.names[0]: box for box in drawn.boxes}


def _arrows(drawn: Picture) -> set[tuple[str, str]]:
    return {(drawn.boxes[a].names[0], drawn.boxes[b].names[0]) for a, b in drawn.arrows}


_THREE = [
    _resource("berth:aws:ApiGateway", "api"),
    _resource("aws:apigateway/stage:Stage", "stage", "lb", "vpc", parent="api"),
    _resource("aws:apigateway/apiKey:ApiKey", "one", parent="api"),
    _resource("aws:apigateway/apiKey:ApiKey", "two", parent="api"),
    _resource("berth:aws:InternalLoadBalancer", "balancer"),
    _resource("aws:lb/loadBalancer:LoadBalancer", "lb", "vpc", parent="balancer"),
    _resource("berth:aws:Network", "network"),
    _resource("aws:ec2/vpc:Vpc", "vpc", "key", parent="network"),
    _resource("berth:aws:EncryptionKey", "logs-key"),
    _resource("aws:kms/key:Key", "key", parent="logs-key"),
]


def test_each_stands_above_what_it_uses() -> None:
    drawn = picture(_THREE)
    assert _arrows(drawn) == {("api", "balancer"), ("balancer", "network")}
    levels = {name: box.level for name, box in _boxes(drawn).items()}
    assert levels == {"api": 0, "balancer": 1, "network": 2}


def test_what_is_inside_is_counted_and_keys_are_told() -> None:
    boxes = _boxes(picture(_THREE))
    assert boxes["api"].holds == ("ApiKey 2", "Stage")
    assert boxes["network"].keys == ("logs-key",)
    assert boxes["api"].title == "API gateway"


def test_alike_become_one_box_unless_one_stands_on_the_other() -> None:
    drawn = picture(
        [
            _resource("berth:aws:NodePool", "gpu", "network"),
            _resource("berth:aws:NodePool", "cpu", "network"),
            _resource("berth:aws:ClusterAddons", "after", "cpu", "before"),
            _resource("berth:aws:ClusterAddons", "before", "network"),
            _resource("berth:aws:Network", "network"),
        ]
    )
    assert {box.names for box in drawn.boxes} == {
        ("cpu", "gpu"), ("after",), ("before",), ("network",),
    }  # fmt: skip


def test_through_a_provider_stands_what_it_stands_on() -> None:
    drawn = picture(
        [
            _resource("berth:kubernetes:Berth", "digits-1", "provider"),
            _resource("pulumi:providers:kubernetes", "provider", "cluster"),
            _resource("berth:aws:Cluster", "cluster"),
        ]
    )
    assert _arrows(drawn) == {("digits-1", "cluster")}


def test_what_stands_apart_is_drawn_all_the_same() -> None:
    drawn = picture([*_THREE, _resource("berth:aws:MonthlyBudget", "budget")])
    assert _boxes(drawn)["budget"].level is None
    assert "budget" in svg(drawn, "s")


def test_names_cannot_break_the_file() -> None:
    text = svg(picture([_resource("berth:aws:MonthlyBudget", "<a>&b")]), "<s>")
    assert ET.fromstring(text).find("{http://www.w3.org/2000/svg}title") is not None


def test_sets_of_data_are_drawn(tmp_path: Path) -> None:
    content = yaml.safe_load((REPOSITORY / "Pulumi.dev.yaml").read_text())
    content["config"]["berth:data"]["datasets"] = {"prices": {"version": "7", "models": ["digits"]}}
    file = tmp_path / "Pulumi.dev.yaml"
    file.write_text(yaml.safe_dump(content))
    assert "prices" in draw("dev", file)


def test_the_picture_in_docs_is_up_to_date() -> None:
    """`./berth picture -s prod --output docs/prod.svg` draws it."""
    drawn = draw("prod", REPOSITORY / "Pulumi.prod.yaml")
    assert drawn == (REPOSITORY / "docs" / "prod.svg").read_text()
