"""The resource graph of a stack: nodes, edges, Mermaid text, and the page in docs/."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from berth.operations.graph import (
    Graph,
    Node,
    build_graph,
    document_stack,
    draw_stack,
    format_mermaid,
)
from tests.repository import REPOSITORY


def _resource(kind: str, name: str, *uses: str, parent: str = "stack") -> dict[str, Any]:
    return {"type": kind, "name": name, "urn": name, "parent": parent, "uses": list(uses)}


def _nodes(graph: Graph) -> dict[str, Node]:
    return {node.names[0]: node for node in graph.nodes}


def _edges(graph: Graph) -> set[tuple[str, str]]:
    return {(graph.nodes[a].names[0], graph.nodes[b].names[0]) for a, b in graph.edges}


_THREE = [
    _resource("berth:aws:ApiGateway", "api"),
    _resource("aws:apigateway/stage:Stage", "stage", "lb", "vpc", parent="api"),
    _resource("aws:apigateway/apiKey:ApiKey", "one", parent="api"),
    _resource("aws:apigateway/apiKey:ApiKey", "two", parent="api"),
    _resource("berth:aws:InternalBalancer", "balancer"),
    _resource("aws:lb/loadBalancer:LoadBalancer", "lb", "vpc", parent="balancer"),
    _resource("berth:aws:Network", "network"),
    _resource("aws:ec2/vpc:Vpc", "vpc", "key", parent="network"),
    _resource("berth:aws:EncryptionKey", "logs-key"),
    _resource("aws:kms/key:Key", "key", parent="logs-key"),
]


def test_edges_lead_to_used_components_without_shortcuts() -> None:
    graph = build_graph(_THREE)
    assert _edges(graph) == {("api", "balancer"), ("balancer", "network")}
    assert [node.names for node in graph.nodes] == [("api",), ("balancer",), ("network",)]


def test_contents_are_counted_and_keys_are_listed() -> None:
    nodes = _nodes(build_graph(_THREE))
    assert nodes["api"].contents == ("ApiKey 2", "Stage")
    assert nodes["network"].keys == ("logs-key",)
    assert nodes["api"].title == "API gateway"


def test_equal_types_share_a_node_unless_one_uses_another() -> None:
    graph = build_graph(
        [
            _resource("berth:aws:NodePool", "gpu", "network"),
            _resource("berth:aws:NodePool", "cpu", "network"),
            _resource("berth:aws:ClusterAddons", "after", "cpu", "before"),
            _resource("berth:aws:ClusterAddons", "before", "network"),
            _resource("berth:aws:Network", "network"),
        ]
    )
    assert {node.names for node in graph.nodes} == {
        ("cpu", "gpu"), ("after",), ("before",), ("network",),
    }  # fmt: skip


def test_provider_passes_on_its_dependencies() -> None:
    graph = build_graph(
        [
            _resource("berth:kubernetes:Berth", "digits-1", "provider"),
            _resource("pulumi:providers:kubernetes", "provider", "cluster"),
            _resource("berth:aws:Cluster", "cluster"),
        ]
    )
    assert _edges(graph) == {("digits-1", "cluster")}


def test_unconnected_component_is_the_last_node() -> None:
    graph = build_graph([_resource("berth:aws:Cost", "budget"), *_THREE])
    assert graph.nodes[-1].names == ("budget",)
    assert '"<b>Cost</b><br/>budget"' in format_mermaid(graph)


def test_names_are_escaped_and_shortened() -> None:
    names = [_resource("berth:aws:Cost", f'"{number}') for number in range(8)]
    text = format_mermaid(build_graph(names))
    assert text.count('"') == 2
    assert "#quot;0" in text
    assert "and 2 more" in text


@pytest.mark.slow
def test_datasets_are_nodes(tmp_path: Path) -> None:
    content = yaml.safe_load((REPOSITORY / "Pulumi.dev.yaml").read_text())
    content["config"]["berth:data"]["datasets"] = {"prices": {"version": "7", "models": ["digits"]}}
    file = tmp_path / "Pulumi.dev.yaml"
    file.write_text(yaml.safe_dump(content))
    assert "prices" in draw_stack(file)


@pytest.mark.slow
def test_page_with_the_graph_of_prod_is_current() -> None:
    page = (REPOSITORY / "docs" / "explanation" / "prod-stack.md").read_text()
    assert page == document_stack(REPOSITORY / "Pulumi.prod.yaml"), "run `python -m tools.generate`"
