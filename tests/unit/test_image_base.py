"""What a registry returns is verified, and what an image takes over from its base is checked."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pulumi_berth.datasets.artifact import ARTIFACT_TYPE, TITLE, dataset_tree
from pulumi_berth.files import cache_directory
from pulumi_berth.images.base_environment import (
    BASE_ENVIRONMENT,
    CUDA_ENVIRONMENT,
    REMOVED,
    BaseEnvironmentError,
    clean_history,
    inherit_environment,
)
from pulumi_berth.images.base_reader import ImageCheckError, read_base
from pulumi_berth.images.contents import LayerError, read_contents
from pulumi_berth.oci import documents
from pulumi_berth.oci.descriptor import MAX_DOCUMENT_BYTES, RegistryContentError, parse_descriptor
from pulumi_berth.oci.documents import BaseConfig
from pulumi_berth.oci.registry import RegistryError
from tests.unit.serving_registry import ServedRegistry, digest_of, serve_registry

_ZERO = f"sha256:{'0' * 64}"


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServedRegistry]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    # Between attempts, oras waits for seconds.
    monkeypatch.setattr("oras.decorator.time.sleep", lambda _: None)
    with serve_registry() as served:
        yield served


def _cached_blobs() -> list[Path]:
    return list(cache_directory("images", "blobs").iterdir())


def test_blob_is_returned_after_its_digest_and_size_are_verified(registry: ServedRegistry) -> None:
    data = b"content"
    registry.add(data)
    assert registry.repository.blob(digest_of(data), len(data)).read_bytes() == data


@pytest.mark.parametrize("size", [None, 7])
def test_blob_with_other_content_is_rejected(registry: ServedRegistry, size: int | None) -> None:
    registry.add(b"another", digest=_ZERO)
    with pytest.raises(RegistryError, match=r"returned blob sha256:.* for sha256:0"):
        registry.repository.blob(_ZERO, size)
    assert _cached_blobs() == []


@pytest.mark.parametrize(("size", "message"), [(6, "more than 6 bytes"), (8, "7 of 8 bytes")])
def test_blob_with_another_size_is_rejected(
    registry: ServedRegistry, size: int, message: str
) -> None:
    registry.add(b"content")
    with pytest.raises(RegistryError, match=message):
        registry.repository.blob(digest_of(b"content"), size)
    assert _cached_blobs() == []


def test_truncated_blob_is_rejected(registry: ServedRegistry) -> None:
    data = b"content"
    registry.add(data)
    registry.headers[digest_of(data)] = {"Content-Length": "100"}
    with pytest.raises(RegistryError, match="Could not read blob"):
        registry.repository.blob(digest_of(data), 100)
    assert _cached_blobs() == []


def test_endless_blob_ends_at_its_size(registry: ServedRegistry) -> None:
    registry.endless.add(_ZERO)
    with pytest.raises(RegistryError, match="more than 1000 bytes"):
        registry.repository.blob(_ZERO, 1000)
    # The rest fits into the buffers of the connection.
    assert registry.sent < 64 << 20


def test_damaged_file_in_the_cache_is_read_again(registry: ServedRegistry) -> None:
    data = b"content"
    registry.add(data)
    path = registry.repository.blob(digest_of(data))
    for damaged in (b"c0ntent", b"cont", b""):
        path.write_bytes(damaged)
        assert registry.repository.blob(digest_of(data)).read_bytes() == data


@pytest.mark.parametrize(
    "digest", ["sha256:../../../../etc/passwd", "sha256:" + "0" * 63, "md5:0", "", "latest"]
)
def test_digest_of_another_form_is_rejected(registry: ServedRegistry, digest: str) -> None:
    with pytest.raises(RegistryError, match="is not a digest"):
        registry.repository.blob(digest)


def test_manifest_that_differs_from_its_digest_is_rejected(registry: ServedRegistry) -> None:
    registry.add(b'{"schemaVersion": 2}', digest=_ZERO)
    with pytest.raises(RegistryError, match="returned manifest sha256:"):
        registry.repository.manifest(_ZERO)


def test_manifest_of_a_tag_that_differs_from_its_header_is_rejected(
    registry: ServedRegistry,
) -> None:
    registry.content["v1"] = b'{"schemaVersion": 2}'
    registry.headers["v1"] = {"Docker-Content-Digest": _ZERO}
    with pytest.raises(RegistryError, match="returned manifest sha256:"):
        registry.repository.manifest("v1")


def test_manifest_with_another_size_than_its_index_is_rejected(registry: ServedRegistry) -> None:
    data = b'{"schemaVersion": 2}'
    registry.add(data)
    with pytest.raises(RegistryError, match="returned manifest"):
        registry.repository.manifest(digest_of(data), len(data) + 1)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b" " * (MAX_DOCUMENT_BYTES + 1), f"more than {MAX_DOCUMENT_BYTES} bytes"),
        (b"[" * 200_000, "is not valid JSON"),
        (b"[]", "is not a JSON object"),
        (b"<html>", "is not valid JSON"),
    ],
)
def test_manifest_that_is_not_a_small_json_object_is_rejected(
    registry: ServedRegistry, data: bytes, message: str
) -> None:
    registry.add(data)
    with pytest.raises(RegistryError, match=message):
        registry.repository.manifest(digest_of(data))


@pytest.mark.parametrize(
    "entry",
    [
        None,
        {},
        {"digest": _ZERO},
        {"digest": _ZERO, "size": -1},
        {"digest": _ZERO, "size": "1"},
        {"digest": _ZERO, "size": True},
        {"digest": _ZERO, "size": 1 << 60},
        {"digest": "sha512:0", "size": 1},
    ],
)
def test_invalid_descriptor_is_rejected(entry: Any) -> None:
    with pytest.raises(RegistryContentError):
        parse_descriptor(entry)


def test_base_image_passes_on_its_layers_and_safe_variables(registry: ServedRegistry) -> None:
    config = {
        "User": "root",
        "Env": ["PATH=/opt/bin:/usr/bin", "LANG=C.UTF-8", "HOME=/root", "GPG_KEY=A035"],
        "Entrypoint": ["/evil"],
        "Cmd": ["run"],
        "Volumes": {"/data": {}},
        "ExposedPorts": {"22/tcp": {}},
        "Labels": {"a": "b"},
        "OnBuild": ["RUN evil"],
        "Healthcheck": {"Test": ["CMD", "/evil"]},
        "Shell": ["/bin/sh"],
        "StopSignal": "SIGKILL",
        "WorkingDir": "/evil",
    }
    base = read_base(registry.add_image(config={"config": config}), "amd64", plain_http=True)
    assert base.config.environment == {"LANG": "C.UTF-8"}
    run = documents.RunConfig(user="65532:65532", environment={}, entrypoint=["/x"], labels={})
    built = json.loads(documents.build_config(base.config, "amd64", [], run).data)
    assert built["config"] == {
        "User": "65532:65532",
        "Env": ["LANG=C.UTF-8"],
        "Entrypoint": ["/x"],
        "WorkingDir": "/",
        "Labels": {},
    }
    assert read_contents(base.paths, base.config.diff_ids).files.keys() == {"usr/bin/python3"}


@pytest.mark.parametrize(
    "variable",
    [
        "LD_PRELOAD=/evil.so",
        "LD_LIBRARY_PATH=/evil",
        "LD_AUDIT=/evil.so",
        "GLIBC_TUNABLES=glibc.malloc.check=1",
        "PYTHONPATH=/evil",
        "PYTHONHOME=/evil",
        "PYTHONSTARTUP=/evil.py",
        "SSL_CERT_FILE=/evil.pem",
        "REQUESTS_CA_BUNDLE=/evil.pem",
        "OPENSSL_CONF=/evil.cnf",
        "HTTPS_PROXY=http://evil",
        "http_proxy=http://evil",
        "no_proxy=*",
        "BASH_ENV=/evil.sh",
        "BERTH_MODEL_DIR=/evil",
        "GATEWAY_CONFIG=/evil",
        "ORT_DISABLE_TELEMETRY=0",
        "AWS_SECRET_ACCESS_KEY=clear",
        "DB_PASSWORD=clear",
        "SETTING=AKIAIOSFODNN7EXAMPLE",
        "INDEX=https://user:clear@pypi.example.com/simple",
    ],
)
def test_base_image_with_a_dangerous_variable_is_refused_without_its_value(
    registry: ServedRegistry, variable: str
) -> None:
    name, _, value = variable.partition("=")
    reference = registry.add_image(config={"config": {"Env": [variable]}})
    with pytest.raises(ImageCheckError, match=rf"sets the environment variable {name},") as caught:
        read_base(reference, "amd64", plain_http=True)
    assert value not in str(caught.value).replace(reference, "")


@pytest.mark.parametrize("own", [BASE_ENVIRONMENT, CUDA_ENVIRONMENT])
def test_variables_of_own_base_images_are_taken_over(own: dict[str, str]) -> None:
    assert inherit_environment(f"{name}={value}" for name, value in own.items()) == own


@pytest.mark.parametrize(
    ("entries", "inherited"),
    [
        (["TZ=UTC", "LC_ALL=C"], {"TZ": "UTC", "LC_ALL": "C"}),
        (["NVIDIA_VISIBLE_DEVICES=all"], {"NVIDIA_VISIBLE_DEVICES": "all"}),
        (["LANG=$(evil)", "PATH=/x", "PYTHON_VERSION=3.11", "NAME", "TOKEN="], {}),
    ],
)
def test_unknown_variables_are_dropped(entries: list[str], inherited: dict[str, str]) -> None:
    assert inherit_environment(entries) == inherited


def test_case_of_a_dangerous_name_does_not_matter() -> None:
    with pytest.raises(BaseEnvironmentError):
        inherit_environment(["Http_Proxy=http://evil"])


def test_history_of_the_base_loses_commands_with_secrets() -> None:
    history: list[dict[str, object]] = [
        {"created_by": "ENV LANG=C"},
        {"created_by": "RUN TOKEN=clear make", "empty": True},
    ]
    assert list(clean_history(history)) == [
        {"created_by": "ENV LANG=C"},
        {"created_by": REMOVED, "empty": True},
    ]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"architecture": "arm64"}, "is for linux/arm64, not for linux/amd64"),
        ({"os": "windows"}, "is for windows/amd64"),
        ({"rootfs": {"diff_ids": []}}, "does not list its 1 layers"),
        ({"rootfs": None}, "does not list its 1 layers"),
        ({"config": {"Env": "LD_PRELOAD=/evil.so"}}, "has an unknown form"),
    ],
)
def test_base_image_with_another_configuration_is_refused(
    registry: ServedRegistry, config: dict[str, Any], message: str
) -> None:
    with pytest.raises(ImageCheckError, match=message):
        read_base(registry.add_image(config=config), "amd64", plain_http=True)


def test_layer_that_unpacks_to_something_else_is_refused(registry: ServedRegistry) -> None:
    base = read_base(registry.add_image(diff_id=_ZERO), "amd64", plain_http=True)
    with pytest.raises(LayerError, match=r"layer 1 unpacks to sha256:.*lists sha256:0"):
        read_contents(base.paths, base.config.diff_ids)


def test_layer_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "layer"
    path.write_bytes(b"\x1f\x8b" + b"x" * 100)
    with pytest.raises(LayerError, match="layer 1 is not a readable archive"):
        read_contents([path])


def test_base_image_is_chosen_from_an_index_with_attestations(registry: ServedRegistry) -> None:
    digest = registry.add_image().partition("@")[2]
    entry = {"mediaType": documents.MANIFEST, "digest": digest,
             "size": len(registry.content[digest])}  # fmt: skip
    index = {
        "manifests": [
            {**entry, "platform": {"architecture": "unknown", "os": "unknown"}},
            {**entry, "platform": {"architecture": "amd64", "os": "linux"}},
        ]
    }
    reference = registry.refer(registry.add(json.dumps(index).encode()))
    assert len(read_base(reference, "amd64", plain_http=True).layers) == 1
    with pytest.raises(ImageCheckError, match="does not support arm64; it supports amd64"):
        read_base(reference, "arm64", plain_http=True)


def test_image_without_a_base_takes_over_nothing() -> None:
    base = read_base(None, "amd64", plain_http=False)
    assert (base.layers, base.config) == ((), BaseConfig())


@pytest.mark.parametrize("name", ["../../../etc/passwd", "/etc/passwd", "a//b", "", None])
def test_dataset_with_a_path_outside_its_directory_is_refused(
    registry: ServedRegistry, name: str | None
) -> None:
    manifest = {
        "artifactType": ARTIFACT_TYPE,
        "layers": [{**registry.add(b"x"), "annotations": {TITLE: name}}],
    }
    digest = registry.add(json.dumps(manifest).encode())["digest"]
    with pytest.raises(RegistryError, match="is not the path of a file inside the dataset"):
        dataset_tree(registry.repository, digest)
