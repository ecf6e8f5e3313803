"""The layers that Berth's images are made of, each built once and kept in the cache."""

import hashlib
import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

from pulumi_berth.datasets.artifact import data_tree
from pulumi_berth.datasets.bucket_dataset import BucketSet
from pulumi_berth.images import base, debian, wheels
from pulumi_berth.images.base import USER, base_tree
from pulumi_berth.images.debian import unpack
from pulumi_berth.images.fetch import fetch_package
from pulumi_berth.images.lock import read_lock
from pulumi_berth.images.wheels import LIBRARIES as LIBRARIES
from pulumi_berth.images.wheels import fetch_wheels, libraries_tree, read_wheel_lock
from pulumi_berth.oci import layer as layer_module
from pulumi_berth.oci import tree as tree_module
from pulumi_berth.oci.cache import alone, cache_folder, written_whole
from pulumi_berth.oci.layer import Layer, write_layer
from pulumi_berth.oci.registry import Repository
from pulumi_berth.oci.tree import Tree, of_folder
from pulumi_berth.program_source import PROGRAM_PACKAGES, package_directory, program_digest

BASE_LOCK = package_directory("pulumi_berth.images") / "base.lock.json"
WHEEL_LOCK = package_directory("pulumi_berth.images") / "wheels.lock.json"

PROGRAMS = "opt/berth/app"
"""Where Berth's own programs lie in the image; PYTHONPATH names it."""
MODEL = "opt/berth/model"
"""Where the one model version lies in the image."""
USER_AND_GROUP = f"{USER}:{USER}"


def base_digest() -> str:
    """Of all that decides what the base has: the list of Debian packages, and the recipe."""
    return _digest(json.loads(BASE_LOCK.read_text())["packages"], base, debian)


def runtime_digest(runtime: str) -> str:
    """Of all that decides what a runtime has: its list of wheels, and what is taken of them."""
    return _digest(json.loads(WHEEL_LOCK.read_text())[runtime], wheels)


def _digest(inputs: object, *recipe: ModuleType) -> str:
    """Return the digest of `inputs` and of the modules that turn them into a layer."""
    sources = [inspect.getsource(module) for module in (*recipe, layer_module, tree_module)]
    told = json.dumps([inputs, sources], sort_keys=True)
    return f"sha256:{hashlib.sha256(told.encode()).hexdigest()}"


def base_layer(architecture: str, mirrors: Sequence[str]) -> Layer:
    """Debian's Python without what can be misused; from `mirrors`, or Debian's own when empty."""
    lock = read_lock(BASE_LOCK)
    packages = lock.packages[architecture]

    def tree() -> Tree:
        return base_tree(
            [unpack(package.path, fetch_package(lock, package, mirrors)) for package in packages]
        )

    return _cached("base", [base_digest(), architecture], tree)


def runtime_layer(runtime: str, architecture: str) -> Layer:
    """The libraries of a runtime: `serving-cpu`, `serving-cuda` or `gateway`."""
    wheels = read_wheel_lock(WHEEL_LOCK, runtime, architecture)
    return _cached(
        runtime,
        [runtime_digest(runtime), architecture],
        lambda: libraries_tree(fetch_wheels(wheels, architecture)),
    )


def program_layer(program: str) -> Layer:
    """One of Berth's programs, such as `berth_serving`, with the packages that it imports."""

    def tree() -> Tree:
        found: Tree = {}
        for package in PROGRAM_PACKAGES[program]:
            directory = package_directory(package)
            found |= of_folder(directory, under=f"{PROGRAMS}/{package}", pattern="**/*.py")
        return found

    return _cached(program, program_digest(program), tree)


def model_layer(model_dir: Path, digest: str) -> Layer:
    """One model version: its card and the files that the card names."""
    return _cached("model", digest, lambda: of_folder(model_dir, under=MODEL))


def data_layer(repository: Repository, digest: str) -> Layer:
    """One version of a set of data, from its artifact."""
    return _cached("data", digest, lambda: data_tree(repository, digest))


def bucket_layer(place: BucketSet, digest: str) -> Layer:
    """One version of a set of data, from a bucket."""
    return _cached("bucket", digest, lambda: place.tree(digest))


def _cached(kind: str, inputs: object, tree: Callable[[], Tree]) -> Layer:
    """The layer for `inputs`. Two builds that need the same one wait for one another."""
    key = f"{kind}-{_digest(inputs).removeprefix('sha256:')[:32]}"
    folder = cache_folder("layers")
    archive, facts = folder / f"{key}.tar.gz", folder / f"{key}.json"
    with alone(folder / f".{key}.lock"):
        if not facts.exists() or not archive.exists():
            with written_whole(archive) as path:
                layer = write_layer(tree(), path)
            with written_whole(facts) as path:
                path.write_text(json.dumps({**asdict(layer), "path": str(archive)}))
        found = json.loads(facts.read_text())
    return Layer(**{**found, "path": archive})
