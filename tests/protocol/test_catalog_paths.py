"""Paths of the gateway's catalog."""

import pytest

from berth_protocol.catalog_paths import (
    CATALOG_TEMPLATES,
    CatalogOperation,
    CatalogRoute,
    parse_catalog_path,
)
from berth_protocol.paths import PATH_TEMPLATES, parse_path


def test_every_template_parses_to_its_operation_and_to_no_other_route() -> None:
    for template, operation in CATALOG_TEMPLATES.items():
        path = template.format(model="m", version="1")
        model = "m" if "{model}" in template else ""
        version = "1" if "{version}" in template else None
        assert parse_catalog_path(path) == CatalogRoute(operation, model, version)
        assert parse_catalog_path(f"{path}/") == CatalogRoute(operation, model, version)
        assert parse_path(path) is None
    for template in PATH_TEMPLATES:
        assert parse_catalog_path(template.format(model="m", version="1")) is None


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/docs//",
        "/DOCS",
        "/v2/models//config",
        "/v2/models/m/versions//config",
        "/v2/models/m/other/1/config",
        "/v2/models/m/versions/1/2/config",
        "/v2/models/m%2Fconfig",
        "/v2/models/../config",
        "/v2/models/m/versions/config",
        "/v2/models/config",
        "/v3/models",
    ],
)
def test_other_path_has_no_route(path: str) -> None:
    assert parse_catalog_path(path) is None


def test_encoded_letters_are_equal() -> None:
    assert parse_catalog_path("/%642ocs") is None
    assert parse_catalog_path("/%64ocs") == CatalogRoute(CatalogOperation.DOCS)
