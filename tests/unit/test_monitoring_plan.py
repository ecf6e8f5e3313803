"""Rules and dashboard of a stack: every query reads metrics and labels that the programs export."""

import json
import re
from collections.abc import Iterator, Mapping
from itertools import chain, product
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from berth.spec.aws import AlarmSpec
from berth_gateway.metrics import Metrics as GatewayMetrics
from berth_serving.data_drift.monitor import MIN_PSI
from berth_serving.metrics import Metrics as BerthMetrics
from pulumi_berth.monitoring.grafana_dashboard import build_dashboard
from pulumi_berth.monitoring.prometheus_rules import build_rules, list_alerts
from pulumi_berth.monitoring.scraped_stack import ScrapedStack, Thresholds, quote
from tests.repository import REPOSITORY

_LABEL_LISTS = re.compile(r"\b(?:by|on|group_left)\s*\(([^()]*)\)")
_SELECTOR = re.compile(r'([a-z_:][A-Za-z0-9_:]*)(?:\{((?:[^"}]|"(?:[^"\\]|\\.)*")*)\})?')
_MATCHER = re.compile(r'([A-Za-z_][A-Za-z0-9_]*)(?:=~|!~|!=|=)("(?:[^"\\]|\\.)*")')
_WORDS = {
    *("sum", "min", "max", "rate", "increase", "absent", "histogram_quantile", "topk"),
    *("by", "on", "group_left", "and", "or", "unless"),
}


def _scraped(*, is_forwarding: bool = True, **changes: Any) -> ScrapedStack:
    fields: dict[str, Any] = {
        "project": "shop",
        "stack": "prod",
        "labels": {} if is_forwarding else {"namespace": "shop"},
        "berths": [("digits", "1"), ("digits", "2")],
        "quotas": {"partner": 10_000},
        "is_forwarding": is_forwarding,
        "has_shared_limits": not is_forwarding,
    }
    return ScrapedStack(**fields | changes)


_STACKS = [
    _scraped(is_forwarding=True),
    _scraped(is_forwarding=False, shadows=[("digits", "3")]),
]


@pytest.fixture(scope="module")
def exported() -> dict[str, set[str]]:
    """Labels of each series that a berth and a gateway export, by its name."""
    berth, gateway = BerthMetrics(None), GatewayMetrics()
    for metrics in (berth, berth.data_drift, gateway):
        for metric in vars(metrics).values():
            if isinstance(metric, MetricWrapperBase) and metric._labelnames:
                metric.labels(*metric._labelnames)
    gateway.observe_at_scrape(
        cast("Any", SimpleNamespace(retries=0)),
        cast("Any", SimpleNamespace(counts={("m", "1", "x"): 1}, compared={("m", "1", "x"): 1})),
        cast("Any", SimpleNamespace(get_quota_used=lambda: {"c": 1})),
        {"client": cast("Any", SimpleNamespace(count_blocked=lambda: 0))},
        cast("Any", SimpleNamespace(unhealthy=[SimpleNamespace(model="m", version="1")])),
    )
    series: dict[str, set[str]] = {}
    for metrics in (berth, gateway):
        for family in text_string_to_metric_families(metrics.render().decode()):
            for sample in family.samples:
                series.setdefault(sample.name, set()).update(sample.labels)
    return series


def _rules(stack: ScrapedStack, thresholds: Thresholds | None = None) -> list[dict[str, Any]]:
    groups = build_rules(stack, thresholds)["groups"]
    assert len({group["name"] for group in groups}) == len(groups)
    return [rule for group in groups for rule in group["rules"]]


def _alerts(stack: ScrapedStack, thresholds: Thresholds | None = None) -> list[dict[str, Any]]:
    return [rule for rule in _rules(stack, thresholds) if "alert" in rule]


def _targets(stack: ScrapedStack) -> Iterator[dict[str, Any]]:
    for panel in build_dashboard(stack)["panels"]:
        yield from panel.get("targets", [])


def _queries(stack: ScrapedStack) -> list[tuple[str, str]]:
    """Return each query, and the text that shows labels of its result."""
    rules = [(rule["expr"], json.dumps(rule.get("annotations", {}))) for rule in _rules(stack)]
    return [*rules, *((target["expr"], target["legendFormat"]) for target in _targets(stack))]


def _find_problems(query: str, text: str, known: Mapping[str, set[str]]) -> Iterator[str]:
    """Yield what a query reads, groups by or shows that no series has."""
    query = query.replace("$__rate_interval", "5m")
    if len(_LABEL_LISTS.findall(query)) != len(re.findall(r"\b(?:by|on|group_left)\b", query)):
        yield "a list of labels is not one"
    if any(query.count(left) != query.count(right) for left, right in ("()", "{}", "[]")):
        yield "brackets are not balanced"
    grouped = {name.strip() for names in _LABEL_LISTS.findall(query) for name in names.split(",")}
    # Durations, numbers and lists of labels contain no metric.
    rest = re.sub(r"\[[0-9]+[a-z]\]", "", _LABEL_LISTS.sub("by", query))
    labels: set[str] = set()
    for name, inner in _SELECTOR.findall(rest):
        if name in _WORDS and not inner:
            continue
        if name not in known:
            yield f"{name} is not exported"
            continue
        labels |= known[name]
        if _MATCHER.sub("", inner).strip(","):
            yield f"{inner} is not a list of matchers"
        for label, _ in _MATCHER.findall(inner):
            if label not in known[name]:
                yield f"{name} has no label {label}"
    # The result has the labels that it is grouped by, or those of its series.
    shown = set(chain(*re.findall(r"\$labels\.(\w+)|\{\{(\w+)\}\}", text)))
    for label in sorted(((grouped - labels) | (shown - (grouped or labels))) - {""}):
        yield f"no series has the label {label}"


@pytest.mark.parametrize("stack", _STACKS, ids=["forwarding gateway", "ingress controller"])
def test_every_query_reads_metrics_and_labels_that_exist(
    stack: ScrapedStack, exported: dict[str, set[str]]
) -> None:
    known = {name: labels | {*stack.labels} for name, labels in exported.items()}
    recorded = {rule["record"] for rule in _rules(stack) if "record" in rule}
    known |= {name: {"model", "stack"} for name in recorded}
    queries = _queries(stack)
    assert len(queries) >= 40
    assert {query: [*_find_problems(query, text, known)] for query, text in queries} == {
        query: [] for query, _ in queries
    }


@pytest.mark.parametrize(
    ("query", "text", "problem"),
    [
        ("sum(rate(berth_request_total[5m]))", "", "berth_request_total is not exported"),
        ('max(berth_queue_requests{client="x"})', "", "berth_queue_requests has no label client"),
        ("sum by (client) (berth_queue_requests)", "", "no series has the label client"),
        ("sum by (model) (berth_queue_requests)", "{{version}}", "no series has the label version"),
        (
            "berth_queue_requests / on (model) group_left (sum by (model) (berth_queue_requests))",
            "",
            "a list of labels is not one",
        ),
        ("sum(berth_queue_requests{model=digits})", "", "model=digits is not a list of matchers"),
    ],
)
def test_query_with_a_mistake_is_found(
    exported: dict[str, set[str]], query: str, text: str, problem: str
) -> None:
    assert problem in [*_find_problems(query, text, exported)]


@pytest.mark.parametrize("stack", _STACKS, ids=["forwarding gateway", "ingress controller"])
def test_variables_of_the_dashboard_read_metrics_that_exist(
    stack: ScrapedStack, exported: dict[str, set[str]]
) -> None:
    source, *variables = build_dashboard(stack)["templating"]["list"]
    assert (source["type"], source["query"]) == ("datasource", "prometheus")
    for variable in variables:
        query = variable["query"]["query"]
        (names,) = re.findall(r'__name__=~"([a-z_|]+)"', query)
        for name in names.split("|"):
            assert variable["name"] in exported[name]
        assert query.endswith(f",{variable['name']})")


def test_every_query_selects_only_the_stack() -> None:
    namespace = 'a"b\\c'
    stack = _scraped(is_forwarding=False, labels={"namespace": namespace})
    for query, _ in _queries(stack):
        for name, inner in _SELECTOR.findall(query):
            if name.startswith("berth_"):
                assert f"namespace={quote(namespace)}" in inner
            elif name.startswith("model:"):
                assert 'stack="shop/prod"' in inner


def test_programs_export_the_outcomes_that_an_increase_counts(
    exported: dict[str, set[str]],
) -> None:
    """Prometheus does not count the first value of a series that appears."""
    text = GatewayMetrics().render().decode()
    assert 'berth_gateway_reloads_total{outcome="rejected"} 0.0' in text.splitlines()


def test_alerts_of_one_name_have_different_labels() -> None:
    for stack in _STACKS:
        identities = [(rule["alert"], *sorted(rule["labels"].items())) for rule in _alerts(stack)]
        assert len(set(identities)) == len(identities)
        assert {rule["labels"]["severity"] for rule in _alerts(stack)} == {"critical", "warning"}


def test_alerts_follow_what_the_stack_has() -> None:
    forwarding, controlled = (list_alerts(build_rules(stack)) for stack in _STACKS)
    assert "BerthLimitsNotShared" in controlled
    assert "BerthLimitsNotShared" not in forwarding
    bare = _scraped(berths=(), quotas={})
    assert not {"BerthAbsent", "BerthQuotaNearlyUsed"} & {*list_alerts(build_rules(bare))}
    quota, absent = (
        [rule["expr"] for rule in _alerts(_STACKS[1]) if rule["alert"] == name]
        for name in ("BerthQuotaNearlyUsed", "BerthAbsent")
    )
    assert quota == [
        'max(berth_gateway_quota_used{namespace="shop",client="partner"}) / 10000 > 0.9'
    ]
    assert absent == [
        f'absent(berth_model_info{{namespace="shop",model="digits",version="{version}"}})'
        for version in (1, 2)
    ]


def test_burn_rates_are_multiples_of_the_allowed_errors() -> None:
    def burns(percent: float) -> list[tuple[str, str]]:
        return [
            (rule["labels"]["window"], rule["expr"])
            for rule in _alerts(_STACKS[0], Thresholds(error_percent=percent))
            if rule["alert"] == "BerthErrorBudgetBurn"
        ]

    recorded = 'model:berth_errors:ratio_rate{}{{stack="shop/prod"}} > {}'
    expected = [("1h", "5m", "0.288"), ("6h", "30m", "0.12"),
                ("1d", "2h", "0.06"), ("3d", "6h", "0.02")]  # fmt: skip
    assert burns(2) == [
        (long, f"{recorded.format(long, share)} and {recorded.format(short, share)}")
        for long, short, share in expected
    ]
    # 14.4 times 10 % is more than all responses.
    assert [window for window, _ in burns(10)] == ["6h", "1d", "3d"]
    rules = _rules(_STACKS[0], Thresholds(error_percent=10))
    assert {rule["record"].rpartition("rate")[2] for rule in rules if "record" in rule} == {
        *("6h", "30m", "1d", "2h", "3d")
    }


def test_shadow_traffic_uses_up_no_allowed_errors_of_a_model() -> None:
    shadow = (
        'unless on (model, version) berth_model_info{namespace="shop",model="digits",version="3"}'
    )
    rules = _rules(_STACKS[1])
    assert all(shadow in rule["expr"] for rule in rules if "record" in rule)
    (of_version,) = [rule for rule in rules if rule.get("alert") == "BerthVersionErrors"]
    assert shadow not in of_version["expr"]
    titles = {
        panel["title"]
        for panel in build_dashboard(_STACKS[1])["panels"]
        if any(shadow in target["expr"] for target in panel.get("targets", []))
    }
    assert titles == {"Traffic split"}


def test_documentation_lists_the_alerts() -> None:
    text = (REPOSITORY / "docs/how-to/monitor-with-prometheus.md").read_text()
    documented = re.findall(r"^\| `(Berth\w+)` \| ([a-z, ]+) \|", text, re.MULTILINE)
    severities: dict[str, set[str]] = {}
    for rule in _alerts(_STACKS[1]):
        severities.setdefault(rule["alert"], set()).add(rule["labels"]["severity"])
    assert {name: {*words.split(", ")} for name, words in documented} == severities


def test_thresholds_of_alerts_and_dashboard_are_the_same() -> None:
    limits = Thresholds(error_percent=2, latency_p99_ms=250, minutes=7)
    alerts = {rule["alert"]: rule for rule in _alerts(_STACKS[0], limits)}
    assert alerts["BerthVersionErrors"]["expr"].endswith("> 0.02")
    assert alerts["BerthLatencyHigh"]["expr"].endswith("> 0.25")
    assert alerts["BerthLatencyHigh"]["for"] == "7m"
    lines = {
        panel["title"]: panel["fieldConfig"]["defaults"]["thresholds"]["steps"][1]["value"]
        for panel in build_dashboard(_STACKS[0], limits)["panels"]
        if panel["type"] != "row"
        and len(panel["fieldConfig"]["defaults"]["thresholds"]["steps"]) > 1
    }
    difference = lines.pop("Difference from the training data")
    assert difference == MIN_PSI
    assert lines == {"Errors": 0.02, "Latency p99": 0.25}


def test_default_thresholds_are_those_of_the_cloudwatch_alarms() -> None:
    ours, alarms = Thresholds(), AlarmSpec()
    for name in ("error_percent", "latency_p99_ms", "minutes"):
        assert getattr(ours, name) == getattr(alarms, name)


def test_dashboard_has_a_stable_id_and_refers_to_nothing_by_id() -> None:
    dashboard = build_dashboard(_STACKS[0])
    assert dashboard["id"] is None
    assert dashboard["uid"] == build_dashboard(_scraped(quotas={}))["uid"]
    assert re.fullmatch(r"[a-z0-9-]{1,40}", dashboard["uid"])
    others = [_scraped(stack="dev"), _scraped(project="x"), _scraped(labels={"namespace": "y"})]
    assert len({dashboard["uid"], *(stack.uid for stack in others)}) == 4
    variables = dashboard["templating"]["list"][1:]
    graphs = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    for part in [*variables, *graphs, *_targets(_STACKS[0])]:
        assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@pytest.mark.parametrize("stack", _STACKS, ids=["forwarding gateway", "ingress controller"])
def test_dashboard_uses_all_of_its_variables_and_no_others(stack: ScrapedStack) -> None:
    dashboard = build_dashboard(stack)
    names = [variable["name"] for variable in dashboard["templating"]["list"]]
    assert len({*names}) == len(names)
    used = {*re.findall(r"\$\{?(\w+)", json.dumps(dashboard))}
    assert used - {"__rate_interval", "__all"} == {*names}
    for panel in dashboard["panels"]:
        references = [target["refId"] for target in panel.get("targets", [])]
        assert len({*references}) == len(references)
        assert (panel["type"] == "row") == (not references)


def test_documentation_lists_the_metrics_of_the_dashboard(exported: dict[str, set[str]]) -> None:
    text = (REPOSITORY / "docs/reference/metrics.md").read_text()
    documented = {*re.findall(r"^\| `(berth_\w+)` \|", text, re.MULTILINE)}
    read = {
        name
        for stack in _STACKS
        for query, _ in _queries(stack)
        for name in re.findall(r"\bberth_\w+", query)
        if name in exported
    }
    assert len(read) >= 20
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in read} <= documented


def test_panels_fill_the_grid_without_overlap() -> None:
    for stack in _STACKS:
        panels = build_dashboard(stack)["panels"]
        assert [panel["id"] for panel in panels] == [*range(1, len(panels) + 1)]
        cells = [
            cell
            for panel in panels
            for grid in [panel["gridPos"]]
            for cell in product(
                range(grid["x"], grid["x"] + grid["w"]), range(grid["y"], grid["y"] + grid["h"])
            )
        ]
        assert len({*cells}) == len(cells)
        assert max(x for x, _ in cells) == 23
