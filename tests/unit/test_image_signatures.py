"""Signatures of images in cosign's format, in a real registry and with cosign itself."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from berth.errors import OperationError
from berth.operations.preflight import list_requirements, require
from berth.operations.sign_images import (
    list_images_to_sign,
    list_registry_images,
    sign_images,
)
from berth.platforms.stack_context import StackContext
from berth.signing.image import sign_image
from berth.signing.private_key import PrivateKey, load_private_key
from berth.spec import SpecError, load_file
from pulumi_berth.oci.copy import copy_by_digest
from pulumi_berth.oci.registry import RegistryError, Repository, split_reference
from pulumi_berth.signing.errors import SignatureError
from pulumi_berth.signing.image_signature import (
    HASH,
    ImageSignature,
    build_artifact,
    build_payload,
    check_image_signature,
    find_signature_tag,
)
from tests.docker_registry import push_image, start_registry
from tests.repository import REPOSITORY
from tests.unit.signing_keys import create_key, public_key, public_pem, sign_directory, write_key

KEY = create_key()
OTHER = create_key()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with start_registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


@pytest.fixture
def image(registry: str, request: pytest.FixtureRequest) -> str:
    """An image of this test only."""
    name = request.node.name.partition("[")[0].replace("_", "-")
    return push_image(Repository(name=f"{registry}/{name}", plain_http=True), request.node.name)


@pytest.fixture
def key(tmp_path: Path) -> PrivateKey:
    return load_private_key(write_key(tmp_path / "signing.key", KEY), lambda: None)


@pytest.fixture
def other(tmp_path: Path) -> PrivateKey:
    return load_private_key(write_key(tmp_path / "other.key", OTHER), lambda: None)


def check(image: str, *keys: ec.EllipticCurvePrivateKey) -> None:
    check_image_signature(image, [public_key(each) for each in keys], plain_http=True)


def push_signature(image: str, payload: bytes, signed: bytes | None = None) -> None:
    """Push a signature of `signed`, or of the payload, as that of an image."""
    name, digest = split_reference(image)
    repository = Repository(name=name, plain_http=True)
    signature = KEY.sign(payload if signed is None else signed, ec.ECDSA(HASH))
    entry = ImageSignature(payload=payload, signature=signature)
    blob, config, manifest = build_artifact([], entry)
    repository.push_document(blob)
    repository.push_document(config)
    repository.replace_tag(manifest, find_signature_tag(digest))


def test_signed_image_is_accepted_and_signing_again_changes_nothing(
    image: str, key: PrivateKey
) -> None:
    with pytest.raises(SignatureError, match="has no signature: the repository has no tag"):
        check(image, KEY)

    assert sign_image(image, key, plain_http=True)
    assert not sign_image(image, key, plain_http=True)

    check(image, OTHER, KEY)
    with pytest.raises(SignatureError, match="has 1 signatures, none of them by a trusted key"):
        check(image, OTHER)


def test_signature_by_second_key_keeps_first(
    image: str, key: PrivateKey, other: PrivateKey
) -> None:
    assert sign_image(image, key, plain_http=True)
    assert sign_image(image, other, plain_http=True)

    check(image, KEY)
    check(image, OTHER)


def _replace(payload: bytes, before: str, after: str) -> bytes:
    changed = payload.replace(before.encode(), after.encode())
    assert changed != payload
    return changed


@pytest.mark.parametrize("case", ["other-digest", "tampered", "other-type", "not-json"])
def test_signature_of_something_else_is_refused(image: str, case: str) -> None:
    """The statement is signed by the trusted key, or was signed before it was changed."""
    name, digest = split_reference(image)
    payload = build_payload(name, digest)
    elsewhere = build_payload(name, "sha256:" + "0" * 64)
    if case == "other-digest":
        push_signature(image, elsewhere)
    elif case == "tampered":
        push_signature(image, payload, signed=elsewhere)
    elif case == "other-type":
        push_signature(image, _replace(payload, "cosign container image signature", "other"))
    else:
        push_signature(image, b"[]")

    with pytest.raises(SignatureError, match="none of them by a trusted key"):
        check(image, KEY)


def test_tag_of_signatures_that_is_something_else_is_refused(image: str, registry: str) -> None:
    name, digest = split_reference(image)
    repository = Repository(name=name, plain_http=True)
    unrelated = split_reference(push_image(repository, "unrelated"))[1]
    repository.replace_tag(repository.manifest(unrelated), find_signature_tag(digest))

    with pytest.raises(SignatureError, match="has no signature"):
        check(image, KEY)


def test_missing_image_is_not_signed(image: str, key: PrivateKey) -> None:
    missing = f"{split_reference(image)[0]}@sha256:{'0' * 64}"
    with pytest.raises(RegistryError, match=r"has no .* Nothing was signed"):
        sign_image(missing, key, plain_http=True)


def test_copy_of_image_has_signatures_also_later_ones(
    image: str, registry: str, key: PrivateKey, other: PrivateKey
) -> None:
    name, digest = split_reference(image)
    origin = Repository(name=name, plain_http=True)
    target = Repository(name=f"{registry}/copies/{name.rpartition('/')[2]}", plain_http=True)
    copied = f"{target.name}@{digest}"

    assert copy_by_digest(origin, target, digest, "release-1")
    with pytest.raises(SignatureError, match="has no signature"):
        check(copied, KEY)
    for private, public in ((key, KEY), (other, OTHER)):
        sign_image(image, private, plain_http=True)
        assert not copy_by_digest(origin, target, digest, "release-1")
        check(copied, public)
    check(copied, KEY)


def _outputs(image: str | None) -> dict[str, Any]:
    return {"models": {"digits": {"versions": {"1": {"image": image}}, "shadow": None}}}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "Pulumi.yaml").write_text("name: demo\nruntime: python\n")
    version = tmp_path / "models" / "digits" / "1"
    shutil.copytree(REPOSITORY / "models" / "digits" / "1", version)
    sign_directory(version, KEY)
    (tmp_path / "release.pub").write_text(public_pem(KEY))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_stack(project: Path, image: str, version: str) -> None:
    registry = split_reference(image)[0].rpartition("/")[0]
    (project / "Pulumi.local.yaml").write_text(
        "config:\n  berth:platform: docker\n"
        f"  berth:registry: {{url: {registry}, plain_http: true}}\n"
        f"  berth:models: {{digits: {{versions: {version}}}}}\n"
        "  berth:require_signature: [release.pub]\n"
    )


def require_signatures(project: Path) -> None:
    """Check what an update requires before it asks for the Docker engine, as `berth up` does."""
    file = project / "Pulumi.local.yaml"
    context = StackContext(root=project, stack="local", spec=load_file(file))
    names = [each.name for each in list_requirements(context, file, lambda _: None)]
    assert names[:2] == ["models", "image-signatures"]
    require(context, list_requirements(context, file, lambda _: None)[:2])


def test_stack_refuses_pinned_image_until_it_is_signed(
    registry: str, project: Path, key: PrivateKey
) -> None:
    repository = Repository(name=f"{registry}/pinned/digits", plain_http=True)
    image = push_image(repository, "pinned")
    digest = split_reference(image)[1]
    write_stack(project, image, json.dumps({"1": {"image": digest}}))

    with pytest.raises(SpecError) as caught:
        require_signatures(project)
    assert "berth:models.digits.versions.1.image: " in caught.value.problems[0]
    assert f"{image} has no signature" in caught.value.problems[0]

    sign_image(image, key, plain_http=True)
    require_signatures(project)


def test_stack_refuses_own_container_until_it_is_signed(
    registry: str, project: Path, key: PrivateKey
) -> None:
    image = push_image(Repository(name=f"{registry}/own/server", plain_http=True), "own")
    write_stack(project, image, json.dumps({"1": {"container": {"image": image}}}))

    with pytest.raises(SpecError, match=r"versions\.1\.container\.image: .* has no signature"):
        require_signatures(project)

    spec = load_file(project / "Pulumi.local.yaml")
    context = StackContext(root=project, stack="local", spec=spec)
    (signed,) = sign_images(list_images_to_sign(context, {}, None), key)
    assert signed.reference == image
    require_signatures(project)


def test_images_that_a_stack_runs_are_signed_with_its_unsigned_containers(
    registry: str, image: str, project: Path, key: PrivateKey
) -> None:
    own = push_image(Repository(name=f"{registry}/own/server", plain_http=True), "another")
    write_stack(project, image, json.dumps({"1": {"container": {"image": own}}}))
    spec = load_file(project / "Pulumi.local.yaml")
    context = StackContext(root=project, stack="local", spec=spec)
    images = list_images_to_sign(context, _outputs(image), "digits")
    assert [each.reference for each in images] == [image, own]
    signed = list(sign_images(images, key))

    assert [(each.model, each.version, each.changed) for each in signed] == [
        ("digits", "1", True)
    ] * 2
    check(image, KEY)
    check(own, KEY)
    (again,) = list_images_to_sign(context, _outputs(image), None)
    assert again.reference == image
    assert list_registry_images(_outputs("engine.invalid/digits@sha256:" + "0" * 64)) == {}
    with pytest.raises(OperationError, match="Model 'other' of the stack runs no image"):
        list_images_to_sign(context, _outputs(image), "other")


# Signing with keys of cosign, which a registry without TLS and no transparency log need.
_OFFLINE = ["--allow-insecure-registry", "--allow-http-registry"]


def cosign(*arguments: str) -> "subprocess.CompletedProcess[str]":
    program = shutil.which("cosign")
    if program is None:
        pytest.skip("cosign is not installed")
    environment = {**os.environ, "COSIGN_PASSWORD": "", "NO_PROXY": "127.0.0.1"}
    return subprocess.run(
        [program, *arguments], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_cosign_verifies_signature_by_berth(image: str, key: PrivateKey, tmp_path: Path) -> None:
    sign_image(image, key, plain_http=True)
    verify = ["verify", "--insecure-ignore-tlog=true", *_OFFLINE]
    for name, each in (("release", KEY), ("other", OTHER)):
        (tmp_path / f"{name}.pub").write_text(public_pem(each))

    accepted = cosign(*verify, "--key", str(tmp_path / "release.pub"), image)
    refused = cosign(*verify, "--key", str(tmp_path / "other.pub"), image)

    assert accepted.returncode == 0, accepted.stderr
    (statement,) = json.loads(accepted.stdout)
    digest = split_reference(image)[1]
    assert statement["critical"]["image"]["docker-manifest-digest"] == digest
    assert refused.returncode != 0
