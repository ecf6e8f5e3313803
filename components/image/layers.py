"""The layers that Berth's images are made of, each built once and kept in the cache."""

import fcntl
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from components.image.base import base_tree
from components.image.cache import cache_folder, written_whole
from components.image.debian import unpack
from components.image.fetch import fetch_package
from components.image.layer import Layer, write_layer
from components.image.lock import read_lock
from components.image.tree import Tree, of_folder
from components.image.wheels import fetch_wheels, libraries_tree, read_wheel_lock
from components.source_digest import source_digest

_PROJECT = Path(__file__).resolve().parents[2]
BASE_LOCK = _PROJECT / "images" / "base.lock.json"
WHEEL_LOCK = _PROJECT / "images" / "wheels.lock.json"

PROGRAMS = "opt/berth/app"
"""Where Berth's own programs lie in the image; PYTHONPATH names it."""
MODEL = "opt/berth/model"
"""Where the one model version lies in the image."""


def base_layer(architecture: str, mirrors: Sequence[str]) -> Layer:
    """Debian's Python without what can be misused; from `mirrors`, or Debian's own when empty."""
    lock = read_lock(BASE_LOCK)
    packages = lock.packages[architecture]

    def tree() -> Tree:
        return base_tree(
            [unpack(package.path, fetch_package(lock, package, mirrors)) for package in packages]
        )

    return _cached("base", [asdict(package) for package in packages], tree)


def runtime_layer(runtime: str, architecture: str) -> Layer:
    """The libraries of a runtime: `serving-cpu`, `serving-cuda` or `gateway`."""
    wheels = read_wheel_lock(WHEEL_LOCK, runtime, architecture)
    return _cached(
        runtime,
        [asdict(wheel) for wheel in wheels],
        lambda: libraries_tree(fetch_wheels(wheels, architecture)),
    )


def program_layer(package: str) -> Layer:
    """One of Berth's programs: `serving_app` or `gateway_app`."""
    folder = _PROJECT / package
    return _cached(
        package,
        source_digest(folder),
        lambda: of_folder(folder, under=f"{PROGRAMS}/{package}", pattern="**/*.py"),
    )


def model_layer(model_dir: Path, digest: str) -> Layer:
    """One model version: its card and the files that the card names."""
    return _cached("model", digest, lambda: of_folder(model_dir, under=MODEL))


def recipe_digest() -> str:
    """Of everything that decides what a layer has besides its own inputs."""
    return source_digest(Path(__file__).parent)


def _cached(kind: str, inputs: object, tree: Callable[[], Tree]) -> Layer:
    """The layer for `inputs`. Two builds that need the same one wait for one another."""
    told = json.dumps([recipe_digest(), kind, inputs], sort_keys=True)
    key = f"{kind}-{hashlib.sha256(told.encode()).hexdigest()[:32]}"
    folder = cache_folder("layers")
    archive, facts = folder / f"{key}.tar.gz", folder / f"{key}.json"
    with (folder / f".{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not facts.exists() or not archive.exists():
            with written_whole(archive) as path:
                layer = write_layer(tree(), path)
            with written_whole(facts) as path:
                path.write_text(json.dumps({**asdict(layer), "path": str(archive)}))
        found = json.loads(facts.read_text())
    return Layer(**{**found, "path": archive})
