"""The layers of Berth's images. Each is built once and kept in the cache."""

import hashlib
import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

from berth_protocol.model_card import CARD_FILE, check_listed, read_card
from pulumi_berth.datasets.artifact import dataset_tree
from pulumi_berth.datasets.bucket_dataset import BucketDataset
from pulumi_berth.files import acquire_lock, cache_directory, open_replacement
from pulumi_berth.images import base, debian, wheels
from pulumi_berth.images.base import USER, base_tree, packages_tree
from pulumi_berth.images.debian import Package, unpack
from pulumi_berth.images.packages import fetch_package, read_lock
from pulumi_berth.images.wheels import LIBRARIES as LIBRARIES
from pulumi_berth.images.wheels import fetch_wheels, libraries_tree, read_wheel_lock
from pulumi_berth.oci import layer as layer_module
from pulumi_berth.oci import tree as tree_module
from pulumi_berth.oci.layer import Layer, write_layer
from pulumi_berth.oci.registry import Repository
from pulumi_berth.oci.tree import PLAIN, Entry, Tree, read_tree
from pulumi_berth.program_source import PROGRAM_PACKAGES, package_directory, program_digest

BASE_LOCK = package_directory("pulumi_berth.images") / "base.lock.json"
VALKEY_LOCK = package_directory("pulumi_berth.images") / "valkey.lock.json"
WHEEL_LOCK = package_directory("pulumi_berth.images") / "wheels.lock.json"

PROGRAMS = "opt/berth/app"
"""Directory of Berth's programs in the image. PYTHONPATH includes it."""
MODEL = "opt/berth/model"
"""Directory of the model version in the image."""
USER_AND_GROUP = f"{USER}:{USER}"


def base_digest() -> str:
    """Return the digest of the base layer's inputs: the list of Debian packages and the recipe."""
    return _digest(json.loads(BASE_LOCK.read_text())["packages"], base, debian)


def valkey_digest() -> str:
    """Return the digest of the Valkey layer's inputs: the Debian packages and the recipe."""
    return _digest(json.loads(VALKEY_LOCK.read_text())["packages"], base, debian)


def runtime_digest(runtime: str) -> str:
    """Return the digest of a runtime's inputs: the list of wheels and the recipe."""
    return _digest(json.loads(WHEEL_LOCK.read_text())[runtime], wheels)


def _digest(inputs: object, *recipe: ModuleType) -> str:
    """Return the digest of `inputs` and of the modules that turn them into a layer."""
    sources = [inspect.getsource(module) for module in (*recipe, layer_module, tree_module)]
    content = json.dumps([inputs, sources], sort_keys=True)
    return f"sha256:{hashlib.sha256(content.encode()).hexdigest()}"


def base_layer(architecture: str, mirrors: Sequence[str]) -> Layer:
    """Build the layer with Debian's Python. `mirrors` replaces Debian's own servers."""
    return _cached(
        "base",
        [base_digest(), architecture],
        lambda: base_tree(_fetch_packages(BASE_LOCK, architecture, mirrors)),
    )


def valkey_layer(architecture: str, mirrors: Sequence[str]) -> Layer:
    """Build the layer with Debian's Valkey server, for the base layer."""
    return _cached(
        "valkey",
        [valkey_digest(), architecture],
        lambda: packages_tree(_fetch_packages(VALKEY_LOCK, architecture, mirrors)),
    )


def _fetch_packages(path: Path, architecture: str, mirrors: Sequence[str]) -> list[Package]:
    lock = read_lock(path)
    return [
        unpack(package.path, fetch_package(lock, package, mirrors))
        for package in lock.packages[architecture]
    ]


def runtime_layer(runtime: str, architecture: str) -> Layer:
    """Build the layer with the libraries of a runtime: see `base_image.Runtime`."""
    wheels = read_wheel_lock(WHEEL_LOCK, runtime, architecture)
    return _cached(
        runtime,
        [runtime_digest(runtime), architecture],
        lambda: libraries_tree(fetch_wheels(wheels, architecture)),
    )


def program_layer(program: str) -> Layer:
    """Build the layer with one of Berth's programs and the packages that it imports."""

    def build() -> Tree:
        tree: Tree = {}
        for package in PROGRAM_PACKAGES[program]:
            directory = package_directory(package)
            tree |= read_tree(directory, under=f"{PROGRAMS}/{package}", pattern="**/*.py")
        return tree

    return _cached(program, program_digest(program), build)


def model_layer(model_dir: Path, digest: str) -> Layer:
    """Build the layer with one model version: its card and the files that the card lists.

    Raises:
        CardError: If the directory contains another file or a symbolic link.
        LayerError: If a file differs from the card, or the card from `digest`.
    """

    def build() -> Tree:
        card = read_card(model_dir)
        check_listed(model_dir, card)
        files = {CARD_FILE: digest, **card.files}
        return {
            f"{MODEL}/{name}": Entry(mode=PLAIN, path=model_dir / name, digest=expected)
            for name, expected in files.items()
        }

    return _cached("model", digest, build)


def dataset_layer(repository: Repository, digest: str) -> Layer:
    """Build the layer with one version of a dataset from a registry."""
    return _cached("dataset", digest, lambda: dataset_tree(repository, digest))


def bucket_dataset_layer(dataset: BucketDataset, digest: str) -> Layer:
    """Build the layer with one version of a dataset from a bucket."""
    return _cached("bucket-dataset", digest, lambda: dataset.tree(digest))


def _cached(kind: str, inputs: object, build: Callable[[], Tree]) -> Layer:
    """Return the layer for `inputs` from the cache, or build it.

    If two processes need the same layer, one builds it and the other waits.
    """
    key = f"{kind}-{_digest(inputs).removeprefix('sha256:')[:32]}"
    directory = cache_directory("images", "layers")
    archive, metadata = directory / f"{key}.tar.gz", directory / f"{key}.json"
    with acquire_lock(directory / f".{key}.lock"):
        if not metadata.exists() or not archive.exists():
            with open_replacement(archive) as path:
                layer = write_layer(build(), path)
            with open_replacement(metadata) as path:
                path.write_text(json.dumps({**asdict(layer), "path": str(archive)}))
        content = json.loads(metadata.read_text())
    return Layer(**{**content, "path": archive})
