"""Restored configuration files: earlier values, everything else unchanged."""

from typing import Any

import pytest
from ruamel.yaml import YAML

from berth.operations.configuration import restore_config, set_traffic
from tests.repository import REPOSITORY

FILE = """\
# The laptop.
encryptionsalt: v1:abc
config:
  berth:platform: local  # this machine
  berth:models:
    digits:
      versions:
        "1": {}
        "2": {}
      # Canary since May.
      traffic: {"1": 90, "2": 10}
  berth:gateway:
    clients:
      own:
        burst: 5
        key:
          secure: v1:cipher
"""
CURRENT: dict[str, Any] = {
    "berth:platform": "local",
    "berth:models": {"digits": {"versions": {"1": {}, "2": {}}, "traffic": {"1": 90, "2": 10}}},
    "berth:gateway": {"clients": {"own": {"burst": 5, "key": "plaintext"}}},
}
SECRET_KEYS = frozenset({"berth:gateway"})


def _target(**changes: Any) -> dict[str, Any]:
    return CURRENT | changes


def test_equal_values_leave_file_unchanged() -> None:
    result = restore_config(FILE, CURRENT, CURRENT, SECRET_KEYS)
    assert result.text == FILE
    assert result.secrets == {}


def test_only_different_values_are_edited() -> None:
    models = {"digits": {"versions": {"1": {}, "2": {}}, "traffic": {"1": 100, "2": 0}}}
    result = restore_config(FILE, CURRENT, _target(**{"berth:models": models}), SECRET_KEYS)
    assert result.text == FILE.replace('{"1": 90, "2": 10}', '{"1": 100, "2": 0}')


def test_keys_without_target_value_are_removed() -> None:
    target = {key: value for key, value in CURRENT.items() if key != "berth:gateway"}
    result = restore_config(FILE, CURRENT, target, frozenset())
    assert "gateway" not in result.text
    assert "cipher" not in result.text


def test_missing_keys_are_added() -> None:
    target = _target(**{"berth:local": {"gateway_port": 8080}})
    config = YAML().load(restore_config(FILE, CURRENT, target, SECRET_KEYS).text)["config"]
    assert config["berth:local"] == {"gateway_port": 8080}


def test_changed_secret_is_returned_and_never_written() -> None:
    target = _target(**{"berth:gateway": {"clients": {"own": {"burst": 5, "key": "earlier"}}}})
    result = restore_config(FILE, CURRENT, target, SECRET_KEYS)
    assert result.secrets == {("berth:gateway", "clients", "own", "key"): "earlier"}
    assert "earlier" not in result.text


def test_unchanged_secret_keeps_its_ciphertext() -> None:
    target = _target(**{"berth:gateway": {"clients": {"own": {"burst": 9, "key": "plaintext"}}}})
    result = restore_config(FILE, CURRENT, target, SECRET_KEYS)
    assert result.text == FILE.replace("burst: 5", "burst: 9")
    assert result.secrets == {}


def test_secret_of_removed_client_is_returned_as_secret() -> None:
    clients = {"own": {"burst": 5, "key": "plaintext"}, "old": {"burst": 1, "key": "old plaintext"}}
    result = restore_config(
        FILE, CURRENT, _target(**{"berth:gateway": {"clients": clients}}), SECRET_KEYS
    )
    assert result.secrets == {("berth:gateway", "clients", "old", "key"): "old plaintext"}
    assert "old plaintext" not in result.text


def test_secret_of_current_file_is_never_written_although_update_had_none() -> None:
    target = _target(**{"berth:gateway": {"clients": {"own": {"burst": 9, "key": "plaintext"}}}})
    result = restore_config(FILE, CURRENT, target, frozenset())
    assert result.text == FILE.replace("burst: 5", "burst: 9")


def test_new_text_next_to_secret_is_not_encrypted() -> None:
    clients = {"own": {"burst": 5, "key": "plaintext", "quota": {"requests": 1, "period": "hour"}}}
    target = _target(**{"berth:gateway": {"clients": clients}})
    result = restore_config(FILE, CURRENT, target, SECRET_KEYS)
    assert result.secrets == {}
    assert "period: hour" in result.text


def test_top_level_scalars_are_compared_as_strings() -> None:
    text = "config:\n  berth:flag: true\n  berth:count: 3\n"
    values = {"berth:flag": "true", "berth:count": "3"}
    assert restore_config(text, values, values, frozenset()).text == text


@pytest.mark.parametrize("stack", ["local", "docker", "kubernetes", "dev", "prod"])
def test_new_traffic_changes_no_other_line_of_the_repositorys_stacks(stack: str) -> None:
    text = (REPOSITORY / f"Pulumi.{stack}.yaml").read_text()
    changed = set_traffic(text, "digits", {"1": 35, "2": 65}, None)
    assert changed == text.replace('{"1": 90, "2": 10}', '{"1": 35, "2": 65}') != text


def test_lines_in_other_forms_stay_when_a_value_changes() -> None:
    text = """\
config:
    berth:platform:   aws  # two forms
    berth:tags: { team: "vision",
                  owner: 'ann' }
    berth:models:
        digits:
            versions:
                "1": {}
            traffic: {"1": 100}
            # The end of the model.
    berth:registry:
        replicate_to:
            - {region: eu-west-1}
        readers: [{account: "111111111111"}]


    berth:protect: yes
"""
    changed = set_traffic(text, "digits", {"1": 50, "2": 50}, None)
    expected = text.replace(
        '                "1": {}\n', '                "1": {}\n                "2": {}\n'
    )
    assert changed == expected.replace('{"1": 100}', '{"1": 50, "2": 50}')


def test_edit_of_a_line_that_would_have_another_form_is_kept() -> None:
    text = """\
config:
  berth:models:
    digits: { versions: { "1": {} },
              traffic: { "1": 100 } }
  berth:tags: { team:   vision }
"""
    changed = set_traffic(text, "digits", {"1": 50, "2": 50}, "3")
    loaded = YAML(typ="safe").load(changed)["config"]
    assert loaded["berth:models"]["digits"] == {
        "versions": {"1": {}, "2": {}},
        "traffic": {"1": 50, "2": 50},
        "shadow": "3",
    }
    assert changed.endswith("  berth:tags: { team:   vision }\n")
