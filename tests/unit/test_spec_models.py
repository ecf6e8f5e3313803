"""What a specification names, held against the model versions on disk."""

import shutil
from pathlib import Path

import pytest

from berth.spec import SpecError, load_file
from berth.spec.model_files import check_models
from berth_protocol.model_card import digest
from tests.repository import REPOSITORY
from tests.unit.spec_file import changed, config_of


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with the repository's models."""
    shutil.copytree(REPOSITORY / "models", tmp_path / "models")
    return tmp_path


def problems(project: Path, **changes: object) -> list[str]:
    path = project / "Pulumi.local.yaml"
    path.write_text(changed(config_of("local"), {"models." + k: v for k, v in changes.items()}))
    with pytest.raises(SpecError) as caught:
        check_models(load_file(path), project, path)
    return caught.value.problems


def model(project: Path, *versions: str, **more: object) -> list[str]:
    """What is wrong with a stack whose only other model, digits, has these versions."""
    return problems(project, digits={"versions": {version: {} for version in versions}, **more})


@pytest.mark.parametrize("stack", ["local", "dev", "prod"])
def test_the_repositorys_stacks_name_what_is_there(stack: str) -> None:
    path = REPOSITORY / f"Pulumi.{stack}.yaml"

    check_models(load_file(path), REPOSITORY, path)


def test_a_version_that_is_not_there(project: Path) -> None:
    (found,) = model(project, "1", "3", traffic={"1": 100})

    assert found.startswith("Pulumi.local.yaml:")
    assert f"berth:models.digits.versions.3: {project}/models/digits/3/model.yaml: cannot" in found
    assert "No such file" in found


def test_a_card_that_cannot_be_read(project: Path) -> None:
    (project / "models" / "digits" / "1" / "model.yaml").write_text("schema: [")

    (found,) = model(project, "1")

    assert "berth:models.digits.versions.1:" in found
    assert "model.yaml" in found


def test_a_file_that_was_changed(project: Path) -> None:
    with (project / "models" / "digits" / "1" / "model.onnx").open("ab") as stream:
        stream.write(b"\0")

    (found,) = model(project, "1")

    assert "berth:models.digits.versions.1:" in found
    assert "model.onnx: is sha256:" in found
    assert "expected sha256:" in found


def test_a_file_that_is_missing(project: Path) -> None:
    (project / "models" / "digits" / "1" / "model.onnx").unlink()

    (found,) = model(project, "1")

    assert "model.onnx: is missing" in found


def test_the_folder_of_another_version(project: Path) -> None:
    (found,) = problems(project, digits={"versions": {"1": {"path": "models/digits/2"}}})

    assert found.endswith(
        f"berth:models.digits.versions.1: {project}/models/digits/2 contains version 2 of digits; "
        "set path to the directory of version 1 of digits"
    )


def test_a_pin_that_matches(project: Path) -> None:
    pinned = digest(project / "models" / "digits" / "1")
    path = project / "Pulumi.local.yaml"
    path.write_text(changed(config_of("local"), {"models.digits.versions.1.digest": pinned}))

    check_models(load_file(path), project)


def test_a_pin_that_does_not_match(project: Path) -> None:
    pinned = "sha256:" + "0" * 64

    (found,) = problems(project, digits={"versions": {"1": {"digest": pinned}}})

    actual = digest(project / "models" / "digits" / "1")
    assert f"berth:models.digits.versions.1.digest: {pinned} is not the digest of" in found
    assert actual in found


def _rename_input(project: Path) -> None:
    card = project / "models" / "digits" / "2" / "model.yaml"
    card.write_text(
        card.read_text().replace(
            "{name: input, datatype: FP32, shape: [-1, 64]}",
            "{name: pixels, datatype: FP64, shape: [-1, 64]}",
        )
    )


@pytest.mark.parametrize(
    "shares", [{"traffic": {"1": 90, "2": 10}}, {"traffic": {"1": 100}, "shadow": "2"}]
)
def test_versions_that_share_requests_have_the_same_inputs(
    project: Path, shares: dict[str, object]
) -> None:
    _rename_input(project)

    (found,) = model(project, "1", "2", **shares)

    assert (
        "berth:models.digits.traffic: versions 1 and 2 cannot share requests: the inputs of 1 "
        "are input FP32, those of 2 are pixels FP64;" in found
    )


def test_versions_that_share_nothing_may_differ(project: Path) -> None:
    _rename_input(project)
    path = project / "Pulumi.local.yaml"
    path.write_text(changed(config_of("local"), {"models.digits.traffic": {"1": 100, "2": 0}}))

    check_models(load_file(path), project)


def test_every_problem_is_told_at_once_with_and_without_the_file(project: Path) -> None:
    found = model(project, "3", "4", traffic={"3": 100})
    assert [line.partition(":")[0] for line in found] == ["Pulumi.local.yaml"] * 2

    with pytest.raises(SpecError) as caught:
        check_models(load_file(project / "Pulumi.local.yaml"), project)
    assert [line.partition(": ")[0] for line in caught.value.problems] == [
        "berth:models.digits.versions.3",
        "berth:models.digits.versions.4",
    ]
