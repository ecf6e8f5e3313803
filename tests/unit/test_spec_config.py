"""The specification of the running program: through Pulumi's configuration."""

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
def _no_configuration(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("PULUMI_CONFIG", raising=False)
    monkeypatch.delenv("PULUMI_CONFIG_SECRET_KEYS", raising=False)
    yield
    pulumi.runtime.set_all_config({}, [])


def handed_over(config: dict[str, Any]) -> dict[str, str]:
    """`config` as the engine gives it to a program: sorted JSON, and scalars as text."""
    return {
        key: value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        for key, value in config.items()
    }


def problems(stack: str = "local") -> list[str]:
    with pytest.raises(SpecError) as caught:
        load_config(stack)
    return caught.value.problems


def test_a_switch_that_pulumi_rewrote_as_text_is_read(tmp_path: Path) -> None:
    text = changed(config_of("prod"), {"protect": "true"})
    assert "berth:protect: 'true'" in text

    assert load(tmp_path, text, "prod") == load_file(REPOSITORY / "Pulumi.prod.yaml")


@pytest.mark.parametrize("stack", ["local", "dev", "prod"])
def test_it_equals_the_specification_in_the_file(stack: str) -> None:
    pulumi.runtime.set_all_config(handed_over(config_of(stack)))

    assert load_config(stack) == load_file(REPOSITORY / f"Pulumi.{stack}.yaml")


def test_it_is_read_from_the_environment_as_language_hosts_set_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = config_of("local")
    config["berth:gateway"]["clients"]["default"]["key"] = KEY
    monkeypatch.setenv("PULUMI_CONFIG", json.dumps(handed_over(config)))
    monkeypatch.setenv("PULUMI_CONFIG_SECRET_KEYS", '["berth:gateway"]')

    assert load_config("local").gateway.clients["default"].key == KEY


def test_a_secret_arrives_in_clear() -> None:
    config = config_of("local")
    config["berth:gateway"]["clients"]["default"]["key"] = KEY
    pulumi.runtime.set_all_config(handed_over(config), ["berth:gateway"])

    spec = load_config("local")

    assert spec.gateway.clients["default"].key == KEY
    assert KEY not in repr(spec)


def test_a_key_in_clear_is_refused_with_the_command() -> None:
    config = config_of("local")
    config["berth:gateway"]["clients"]["default"]["key"] = KEY
    pulumi.runtime.set_all_config(handed_over(config))

    (found,) = problems()

    assert found.startswith("Pulumi.local.yaml: berth:gateway.clients.default.key: is in plaintext")
    assert "`pulumi config set --secret --path 'berth:gateway.clients.default.key'`" in found
    assert KEY not in found


@pytest.mark.parametrize("key", ["short-hush", "hush " * 10, "hush" * 40, "hush-hüsch" * 3])
def test_a_secret_of_another_form_is_refused_and_not_shown(key: str) -> None:
    config = config_of("local")
    config["berth:gateway"]["clients"]["default"]["key"] = key
    pulumi.runtime.set_all_config(handed_over(config), ["berth:gateway"])

    (found,) = problems()

    assert found == (
        "Pulumi.local.yaml: berth:gateway.clients.default.key: is not valid; use "
        "20 to 128 printable ASCII characters without spaces"
    )


def test_no_value_of_a_section_with_a_secret_is_shown() -> None:
    config = config_of("local")
    config["berth:models"]["digits"]["shadow"] = "hush"
    pulumi.runtime.set_all_config(handed_over(config), ["berth:models"])

    (found,) = problems()

    assert "hush" not in found
    assert "berth:models.digits.shadow: is not a version of this model" in found


def test_unknown_keys_are_found() -> None:
    config = {**config_of("local"), "berth:gatway": {"timeout_seconds": 3}}
    pulumi.runtime.set_all_config(handed_over(config))

    (found,) = problems()

    assert found.startswith("Pulumi.local.yaml: berth:gatway: unknown key; did you mean gateway?")


def test_keys_of_other_namespaces_are_left_alone() -> None:
    config = {**config_of("local"), "aws:region": "nowhere", "pulumi:tags": {"a": "b"}}
    pulumi.runtime.set_all_config(handed_over(config))

    assert load_config("local").platform == "local"


def test_a_key_without_a_value_is_as_if_it_were_not_there() -> None:
    pulumi.runtime.set_all_config({**handed_over(config_of("local")), "berth:gateway": ""})

    assert list(load_config("local").gateway.clients) == ["default"]


def test_a_scalar_section_is_read_as_what_it_is() -> None:
    pulumi.runtime.set_all_config({**handed_over(config_of("dev")), "berth:protect": "true"})

    assert load_config("dev").protect is True


def test_a_section_of_another_kind_is_refused() -> None:
    pulumi.runtime.set_all_config({**handed_over(config_of("local")), "berth:local": "here"})

    assert problems() == [
        "Pulumi.local.yaml: berth:local: 'here' is not valid; use a map with the keys "
        "gateway_port, admin_port"
    ]


def test_the_region_is_needed_on_aws() -> None:
    config = config_of("dev")
    del config["aws:region"]
    pulumi.runtime.set_all_config(handed_over(config))

    (found,) = problems("dev")

    assert "berth:platform: 'aws' requires the key aws:region" in found


def test_nothing_else_reads_pulumis_configuration() -> None:
    readers = [
        path.relative_to(REPOSITORY).as_posix()
        for folder in ("infra", "components")
        for path in (REPOSITORY / folder).rglob("*.py")
        if "pulumi.Config" in (text := path.read_text()) or "runtime.config" in text
    ]

    assert readers == ["infra/berth/spec/load.py"]
