"""`berth models`: packaged versions, and the stacks that run them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from berth.cli.main import main
from berth.errors import OperationError
from berth.operations import signature_state
from berth.operations.model_list import ModelList, as_json, format_text, list_models
from berth.operations.signature_state import SignatureState
from berth_protocol.model_card import ModelCard, digest, read_card
from tests.repository import REPOSITORY
from tests.unit.signing_keys import create_key, public_key, sign_directory

_KEY = create_key()
_DIGITS = REPOSITORY / "models" / "digits" / "1"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with two packaged versions."""
    (tmp_path / "Pulumi.yaml").write_text("name: demo\nruntime: python\n")
    for version in ("2", "10"):
        shutil.copytree(_DIGITS, tmp_path / "models" / "digits" / version)
    return tmp_path


def build_state(version: str = "2", shadow: str | None = None, **berth: Any) -> dict[str, Any]:
    entry = {"traffic": 100, "exposed": True, "digest": digest(_DIGITS), **berth}
    return {
        "models": {"digits": {"versions": {version: entry}, "shadow": shadow}},
        "images": {"digits-2": {"scanner": "trivy 0.69", "amd64": {}}},
    }


def describe_version(directory: Path, card: ModelCard) -> SignatureState:
    return signature_state.describe_version(directory, card, [public_key(_KEY)])


def list_all(root: Path, **states: dict[str, Any] | OperationError | None) -> ModelList:
    def read(stack: str) -> dict[str, Any] | None:
        state = states[stack]
        if isinstance(state, OperationError):
            raise state
        return state

    return list_models(root, list(states), read, describe_version)


def test_versions_have_card_digest_and_stacks(root: Path) -> None:
    found = as_json(list_all(root, dev=build_state(), prod=build_state("2", "2", traffic=0)))
    one, other = found["models"]
    assert (one["version"], other["version"]) == ("2", "10")
    assert one["directory"] == "models/digits/2"
    assert one["digest"] == digest(_DIGITS)
    assert one["metrics"]["accuracy"] == 0.9722
    assert one["framework"] == "scikit-learn"
    assert [stack["stack"] for stack in one["stacks"]] == ["dev", "prod"]
    assert one["stacks"][0]["scanner"] == "trivy 0.69"
    assert one["stacks"][1]["is_shadow"]
    assert other["stacks"] == []
    assert found["unreadable_stacks"] == {}


def test_table_shows_traffic_and_shadow(root: Path) -> None:
    text = format_text(
        list_all(root, dev=build_state(traffic=90), prod=build_state("2", "2", traffic=0))
    )
    first, second, third = text.splitlines()
    assert first.split() == ["MODEL", "VERSION", "DIGEST", "SIGNATURE", "METRICS", "RUNS", "IN"]
    assert second.endswith("accuracy 0.9722, f1_macro 0.9725  dev 90 %, prod shadow")
    assert third.split()[:2] == ["digits", "10"]
    assert third.endswith("-")


def test_changed_files_and_other_digests_are_noted(root: Path) -> None:
    (root / "models" / "digits" / "10" / "notes.txt").write_text("not listed")
    found = list_all(root, dev=build_state(digest="sha256:" + "0" * 64))
    text = format_text(found)
    assert "digits 10 cannot be deployed: " in text
    assert "notes.txt: is not listed" in text
    assert "digits 2 in stack dev is sha256:000000000000, not the packaged one" in text
    assert not as_json(found)["models"][0]["stacks"][0]["is_packaged_digest"]


def test_version_that_only_a_stack_has_is_listed(root: Path) -> None:
    found = as_json(list_all(root, dev=build_state("7")))
    entry = found["models"][1]
    assert (entry["version"], entry["directory"], entry["digest"]) == ("7", None, None)
    assert entry["problem"] == "is not in this project"
    assert entry["stacks"][0]["scanner"] is None


def test_unreadable_stack_does_not_hide_the_others(root: Path) -> None:
    found = list_all(root, dev=OperationError("no bucket"), prod=build_state(), test=None)
    assert found.unreadable == {"dev": "no bucket"}
    assert "stack dev cannot be read: no bucket" in format_text(found)
    assert "prod 100 %" in format_text(found)


def test_command_lists_a_project_that_was_never_deployed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "Pulumi.local.yaml").write_text("config: {}\n")
    monkeypatch.chdir(root)
    monkeypatch.setenv("PATH", "")  # No engine is needed.
    result = CliRunner().invoke(main, ["models", "digits", "--json"])
    assert result.exit_code == 0, result.output
    assert [entry["version"] for entry in json.loads(result.stdout)["models"]] == ["2", "10"]
    result = CliRunner().invoke(main, ["models", "cats"])
    assert result.exit_code == 1
    assert "Model 'cats' is not in this project. Models: digits." in result.stderr


def test_signature_state_of_versions(root: Path) -> None:
    signed, other = (root / "models" / "digits" / version for version in ("2", "10"))

    def states() -> list[str]:
        return [str(one.signature.state) for one in list_all(root).versions if one.signature]

    assert states() == ["unsigned", "unsigned"]
    sign_directory(signed, _KEY)
    sign_directory(other, create_key())
    assert states() == ["trusted", "unknown-key"]
    found = as_json(list_all(root))["models"]
    assert found[0]["signature"] == {
        "state": "trusted",
        "key": public_key(_KEY).fingerprint,
        "identity": None,
        "problem": None,
    }
    nobody = signature_state.describe_version(signed, read_card(signed), [])
    assert (nobody.state, nobody.key) == ("unknown-key", public_key(_KEY).fingerprint)
    assert "no key is trusted. Add the key to require_signature" in str(nobody.problem)
    card = signed / "model.yaml"
    card.write_text(card.read_text() + "# edited\n")
    assert states()[0] == "invalid"
    text = format_text(list_all(root))
    assert "digits 2 has an invalid signature: " in text
    assert "model.yaml is sha256:" in text


def test_signature_state_of_image_is_only_looked_up_on_request(root: Path) -> None:
    asked: list[tuple[str, str]] = []

    def describe_image(stack: str, reference: str) -> SignatureState:
        asked.append((stack, reference))
        return SignatureState(state=signature_state.State.UNSIGNED)

    image = f"registry.example.com/digits@sha256:{'0' * 64}"
    state = build_state(image=image)
    found = list_models(root, ["dev"], lambda _: state, describe_version)
    assert as_json(found)["models"][0]["stacks"][0]["image_signature"] is None
    found = list_models(root, ["dev"], lambda _: state, describe_version, describe_image)
    assert asked == [("dev", image)]
    assert as_json(found)["models"][0]["stacks"][0]["image_signature"]["state"] == "unsigned"
    assert "image of digits 2 in stack dev: unsigned" in format_text(found)
