"""The check of a specification's model versions against the files on disk."""

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
    """Create a project with the repository's models."""
    shutil.copytree(REPOSITORY / "models", tmp_path / "models")
    return tmp_path


def problems(project: Path, **changes: object) -> list[str]:
    path = project / "Pulumi.local.yaml"
    path.write_text(changed(config_of("local"), {"models." + k: v for k, v in changes.items()}))
    with pytest.raises(SpecError) as caught:
        check_models(load_file(path), project, path)
    return caught.value.problems


def digits_problems(project: Path, *versions: str, **more: object) -> list[str]:
    """Return the problems of the local stack if its model digits has these versions."""
    return problems(project, digits={"versions": {version: {} for version in versions}, **more})


@pytest.mark.parametrize("stack", ["local", "dev", "prod"])
def test_repository_stack_has_valid_models(stack: str) -> None:
    path = REPOSITORY / f"Pulumi.{stack}.yaml"

    check_models(load_file(path), REPOSITORY, path)


def test_missing_version_directory_is_rejected(project: Path) -> None:
    (problem,) = digits_problems(project, "1", "3", traffic={"1": 100})

    assert problem.startswith("Pulumi.local.yaml:")
    assert (
        f"berth:models.digits.versions.3: {project}/models/digits/3/model.yaml: cannot" in problem
    )
    assert "No such file" in problem


def test_unreadable_card_is_rejected(project: Path) -> None:
    (project / "models" / "digits" / "1" / "model.yaml").write_text("schema: [")

    (problem,) = digits_problems(project, "1")

    assert "berth:models.digits.versions.1:" in problem
    assert "model.yaml" in problem


def test_changed_model_file_is_rejected(project: Path) -> None:
    with (project / "models" / "digits" / "1" / "model.onnx").open("ab") as stream:
        stream.write(b"\0")

    (problem,) = digits_problems(project, "1")

    assert "berth:models.digits.versions.1:" in problem
    assert "model.onnx: is sha256:" in problem
    assert "expected sha256:" in problem


def test_missing_model_file_is_rejected(project: Path) -> None:
    (project / "models" / "digits" / "1" / "model.onnx").unlink()

    (problem,) = digits_problems(project, "1")

    assert "model.onnx: is missing" in problem


def test_directory_of_another_version_is_rejected(project: Path) -> None:
    (problem,) = problems(project, digits={"versions": {"1": {"path": "models/digits/2"}}})

    assert problem.endswith(
        f"berth:models.digits.versions.1: {project}/models/digits/2 contains version 2 of digits; "
        "set path to the directory of version 1 of digits"
    )


def test_matching_pinned_digest_is_accepted(project: Path) -> None:
    pinned = digest(project / "models" / "digits" / "1")
    path = project / "Pulumi.local.yaml"
    path.write_text(changed(config_of("local"), {"models.digits.versions.1.digest": pinned}))

    check_models(load_file(path), project)


def test_different_pinned_digest_is_rejected(project: Path) -> None:
    pinned = "sha256:" + "0" * 64

    (problem,) = problems(project, digits={"versions": {"1": {"digest": pinned}}})

    actual = digest(project / "models" / "digits" / "1")
    assert f"berth:models.digits.versions.1.digest: {pinned} is not the digest of" in problem
    assert actual in problem


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
def test_versions_with_different_inputs_cannot_share_requests(
    project: Path, shares: dict[str, object]
) -> None:
    _rename_input(project)

    (problem,) = digits_problems(project, "1", "2", **shares)

    assert (
        "berth:models.digits.traffic: versions 1 and 2 cannot share requests: the inputs of 1 "
        "are input FP32, those of 2 are pixels FP64;" in problem
    )


def test_version_without_traffic_may_have_different_inputs(project: Path) -> None:
    _rename_input(project)
    path = project / "Pulumi.local.yaml"
    path.write_text(changed(config_of("local"), {"models.digits.traffic": {"1": 100, "2": 0}}))

    check_models(load_file(path), project)


def test_all_problems_are_reported_with_and_without_line_numbers(project: Path) -> None:
    lines = digits_problems(project, "3", "4", traffic={"3": 100})
    assert [line.partition(":")[0] for line in lines] == ["Pulumi.local.yaml"] * 2

    with pytest.raises(SpecError) as caught:
        check_models(load_file(project / "Pulumi.local.yaml"), project)
    assert [line.partition(": ")[0] for line in caught.value.problems] == [
        "berth:models.digits.versions.3",
        "berth:models.digits.versions.4",
    ]
