"""Loading the specification of the running program from Pulumi's configuration."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pulumi
import pytest

from berth.spec import SpecError, load_config, load_file
from tests.repository import REPOSITORY
from tests.unit.spec_file import changed, config_of, load

KEY = "hush-hush-hush-hush-hush"


@pytest.fixture(autouse=True)
def _clear_configuration(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("PULUMI_CONFIG", raising=False)
    monkeypatch.delenv("PULUMI_CONFIG_SECRET_KEYS", raising=False)
    yield
    pulumi.runtime.set_all_config({}, [])


def as_engine_passes(config: dict[str, Any]) -> dict[str, str]:
    """Return `config` as the engine passes it to a program: sorted JSON, and scalars as text."""
    return {
        key: value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        for key, value in config.items()
    }


def problems(stack: str = "local") -> list[str]:
    with pytest.raises(SpecError) as caught:
        load_config(stack)
    return caught.value.problems


def test_boolean_written_as_text_by_pulumi_is_read(tmp_path: Path) -> None:
    text = changed(config_of("prod"), {"protect": "true"})
    assert "berth:protect: 'true'" in text

    assert load(tmp_path, text, "prod") == load_file(REPOSITORY / "Pulumi.prod.yaml")


@pytest.mark.parametrize("stack", ["local", "dev", "prod"])
def test_config_equals_specification_in_file(stack: str) -> None:
    pulumi.runtime.set_all_config(as_engine_passes(config_of(stack)))

    assert load_config(stack) == load_file(REPOSITORY / f"Pulumi.{stack}.yaml")


def test_config_is_read_from_environment_of_language_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = config_of("local")
    config["berth:gateway"]["clients"]["default"]["key"] = KEY
    monkeypatch.setenv("PULUMI_CONFIG", json.dumps(as_engine_passes(config)))
    monkeypatch.setenv("PULUMI_CONFIG_SECRET_KEYS", '["berth:gateway"]')

    assert load_config("local").gateway.clients["default"].key == KEY


def test_secret_is_available_in_plaintext_but_not_in_repr() -> None:
    config = config_of("local")
    config["berth:gateway"]["clients"]["default"]["key"] = KEY
    pulumi.runtime.set_all_config(as_engine_passes(config), ["berth:gateway"])

    spec = load_config("local")

    assert spec.gateway.clients["default"].key == KEY
    assert KEY not in repr(spec)


def test_plaintext_key_is_rejected_with_command() -> None:
    config = config_of("local")
    config["berth:gateway"]["clients"]["default"]["key"] = KEY
    pulumi.runtime.set_all_config(as_engine_passes(config))

    (problem,) = problems()

    assert problem.startswith(
        "Pulumi.local.yaml: berth:gateway.clients.default.key: is in plaintext"
    )
    assert "`pulumi config set --secret --path 'berth:gateway.clients.default.key'`" in problem
    assert KEY not in problem


@pytest.mark.parametrize("key", ["short-hush", "hush " * 10, "hush" * 40, "hush-hüsch" * 3])
def test_invalid_secret_is_rejected_and_not_shown(key: str) -> None:
    config = config_of("local")
    config["berth:gateway"]["clients"]["default"]["key"] = key
    pulumi.runtime.set_all_config(as_engine_passes(config), ["berth:gateway"])

    (problem,) = problems()

    assert problem == (
        "Pulumi.local.yaml: berth:gateway.clients.default.key: is not valid; use "
        "20 to 128 printable ASCII characters without spaces"
    )


def test_error_hides_values_of_section_with_secret() -> None:
    config = config_of("local")
    config["berth:models"]["digits"]["shadow"] = "hush"
    pulumi.runtime.set_all_config(as_engine_passes(config), ["berth:models"])

    (problem,) = problems()

    assert "hush" not in problem
    assert "berth:models.digits.shadow: is not a version of this model" in problem


def test_unknown_section_is_rejected() -> None:
    config = {**config_of("local"), "berth:gatway": {"timeout_seconds": 3}}
    pulumi.runtime.set_all_config(as_engine_passes(config))

    (problem,) = problems()

    assert problem.startswith("Pulumi.local.yaml: berth:gatway: unknown key; did you mean gateway?")


def test_keys_of_other_namespaces_are_ignored() -> None:
    config = {**config_of("local"), "aws:region": "nowhere", "pulumi:tags": {"a": "b"}}
    pulumi.runtime.set_all_config(as_engine_passes(config))

    assert load_config("local").platform == "local"


def test_section_without_value_has_defaults() -> None:
    pulumi.runtime.set_all_config({**as_engine_passes(config_of("local")), "berth:gateway": ""})

    assert list(load_config("local").gateway.clients) == ["default"]


def test_scalar_section_is_read_as_boolean() -> None:
    pulumi.runtime.set_all_config({**as_engine_passes(config_of("dev")), "berth:protect": "true"})

    assert load_config("dev").protect is True


def test_text_instead_of_section_is_rejected() -> None:
    pulumi.runtime.set_all_config({**as_engine_passes(config_of("local")), "berth:local": "here"})

    assert problems() == [
        "Pulumi.local.yaml: berth:local: 'here' is not valid; use a map with the keys "
        "gateway_port, admin_port"
    ]


def test_missing_region_on_aws_is_rejected() -> None:
    config = config_of("dev")
    del config["aws:region"]
    pulumi.runtime.set_all_config(as_engine_passes(config))

    (problem,) = problems("dev")

    assert "berth:platform: 'aws' requires the key aws:region" in problem


def test_only_spec_package_reads_pulumi_configuration() -> None:
    readers = [
        path.relative_to(REPOSITORY).as_posix()
        for directory in ("infra", "components")
        for path in (REPOSITORY / directory).rglob("*.py")
        if "pulumi.Config" in (text := path.read_text()) or "runtime.config" in text
    ]

    assert readers == ["infra/berth/spec/load.py"]
