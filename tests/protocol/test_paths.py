"""Paths of the Open Inference Protocol: every built path parses to what it was built from."""

import subprocess
import sys

import pytest

from berth_protocol import paths
from berth_protocol.paths import Operation, Route, parse_path


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/v2", Route(Operation.SERVER_METADATA)),
        ("/v2/health/live", Route(Operation.LIVE)),
        ("/v2/health/ready", Route(Operation.READY)),
        ("/v2/models/m", Route(Operation.MODEL_METADATA, "m")),
        ("/v2/models/m/ready", Route(Operation.MODEL_READY, "m")),
        ("/v2/models/m/infer", Route(Operation.INFER, "m")),
        ("/v2/models/m/versions/1", Route(Operation.MODEL_METADATA, "m", "1")),
        ("/v2/models/m/versions/1/ready", Route(Operation.MODEL_READY, "m", "1")),
        ("/v2/models/versions/versions/ready/infer", Route(Operation.INFER, "versions", "ready")),
        ("/v2/", Route(Operation.SERVER_METADATA)),
        ("/v2/health/live/", Route(Operation.LIVE)),
        ("/v2/models/m/", Route(Operation.MODEL_METADATA, "m")),
        ("/v2/models/m/infer/", Route(Operation.INFER, "m")),
        ("/v2/models/m/versions/1/infer/", Route(Operation.INFER, "m", "1")),
        ("/v2/models/%64igit%53/infer", Route(Operation.INFER, "digitS")),
        ("/%762/%6dodels/a%2Eb%2d%5f/%69nfer", Route(Operation.INFER, "a.b-_")),
    ],
)
def test_path_has_route(path: str, route: Route) -> None:
    assert parse_path(path) == route


@pytest.mark.parametrize(
    "path",
    [
        "", "/", "//", "/v2//", "/v2/models", "/v2/models/", "/v2/models//infer", "/v2/models//",
        "/v2/models/m/versions", "/v2/models/m/infer//", "/v2/models/m/infer/more", "/v2/health",
        "/v2/models/m/stats", "/x/v2/models/m", "/metrics", "/v2/models/m/versions/1/..",
        "//v2/models/m/infer", "/v2//models/m/infer", "/v2/models/m//infer", "/V2/models/m/infer",
        "/v2/./models/m/infer", "/v2/models/../models/m/infer", "/v2/models/x/../m/infer",
        "/v2/models/x/%2e%2e/m/infer", "/v2/models/../infer", "/v2/models/%2E%2e/infer",
        "/v2/models/m%2Finfer", "/v2/models/m%2finfer", "/v2/models/m/versions%2F1/infer",
        "/v2/models/m/infer%2F", "%2Fv2/models/m/infer", "/v2/models/m/infer%3Fa",
        "/v2/models/m%00", "/v2/models/m%5Cinfer", "/v2/models/m%252Finfer", "/v2/models/%",
        "/v2/models/m%25/infer", "/v2/models/-m/infer", "/v2/models/m~/infer",
        "/v2/models/m/versions/;1", "/v2/models/%zz/infer", "/v2/models/%6/infer",
        "/v2/models/%C3%BC/infer", "/v2/models/m%20/infer", "/v2/models/m/infer;a=b",
        "/v2/models/m;a/infer;b", "/v2/models/m\\infer", "/v2/models/" + "a" * 129,
        "v2/models/m/infer", "*",
    ],
)  # fmt: skip
def test_unknown_path_has_no_route(path: str) -> None:
    assert parse_path(path) is None


@pytest.mark.parametrize("version", [None, "1"])
def test_built_path_parses_to_its_parts(version: str | None) -> None:
    builders = {
        paths.model_path: Operation.MODEL_METADATA,
        paths.model_ready_path: Operation.MODEL_READY,
        paths.infer_path: Operation.INFER,
    }
    for build, operation in builders.items():
        assert parse_path(build("m", version)) == Route(operation, "m", version)


def test_every_template_parses_to_its_operation() -> None:
    for template, operation in paths.PATH_TEMPLATES.items():
        route = parse_path(template.format(model="m", version="1"))
        assert route is not None
        assert route.operation is operation


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("paths", "uvicorn, numpy, yaml, msgspec"),
        ("headers", "uvicorn, numpy, yaml, msgspec"),
        ("model_card", "uvicorn, numpy, yaml, asyncio"),
        ("http_server", "numpy, yaml"),
        ("json_logs", "uvicorn, numpy, yaml"),
    ],
)
def test_module_does_not_import_more_than_it_uses(module: str, forbidden: str) -> None:
    """The command line imports some modules, and the gateway image lacks numpy and PyYAML."""
    check = (
        f"import sys, berth_protocol.{module}\n"
        f"print([name for name in {forbidden.split(', ')!r} if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
