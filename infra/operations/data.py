"""`berth data`: sets of reference data, versioned and promoted apart from the models."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ruamel.yaml import YAML

from components.image.artifact import push_data
from components.image.bucket_set import BucketError, BucketSet
from components.image.registry import RegistryError, Repository
from components.local.run_dir import write_atomically
from data_app.manifest import DataError, write_manifest
from infra.operations.stack import OperationError
from infra.spec import HostingSpec, load_file


def push(
    folder: Path, target: str, version: str, *, plain_http: bool, say: Callable[[str], None]
) -> str:
    """Put `folder` as `version` of a set; its digest.

    `target` is `oci://registry/name`, `s3://bucket/prefix`, or a folder, such as where a claim is
    mounted: in a bucket or folder the set lies below `version` there.

    Raises:
        OperationError: it cannot be put there, or other data has that version.
    """
    source = urlsplit(target)
    try:
        if source.scheme == "oci":
            repository = Repository(name=source.netloc + source.path, plain_http=plain_http)
            return push_data(folder, repository, version)
        if source.scheme == "s3":
            place = BucketSet.of(f"{source.netloc}{source.path.rstrip('/')}/{version}")
            return place.push(folder, say)
        if source.scheme:
            raise OperationError(
                f"{target}: must be oci://registry/name, s3://bucket/prefix, or a folder"
            )
        return _copy(folder, Path(target) / version)
    except (RegistryError, BucketError, DataError, OSError) as error:
        raise OperationError(str(error)) from error


def _copy(folder: Path, target: Path) -> str:
    """Copy beside the target, check, and only then give it its name."""
    if target.exists():
        raise OperationError(f"{target} is there already; give these data a new version")
    draft = target.with_name(f".{target.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(folder, draft)
    digest = write_manifest(draft)
    draft.rename(target)
    return digest


def listed(spec: HostingSpec) -> dict[str, Any]:
    """What sets a stack reads, in which version, and which models read them."""
    return {
        name: {"version": entry.version, "digest": entry.digest, "source": entry.source,
               "models": list(entry.models)}
        for name, entry in spec.data.sets.items()
    }  # fmt: skip


def promote(name: str, root: Path, *, source: str, target: str) -> dict[str, Any]:
    """Write the version and digest of a set that stack `source` reads into stack `target`.

    Nothing else of the target changes: its next `up` takes the models' pods to the new data.

    Raises:
        OperationError: one of the stacks has no such set.
    """
    sets = load_file(root / f"Pulumi.{source}.yaml").data.sets
    path = root / f"Pulumi.{target}.yaml"
    theirs = load_file(path).data.sets
    for stack, found in ((source, sets), (target, theirs)):
        if name not in found:
            raise OperationError(
                f"stack {stack} has no set of data {name!r}; it has: {', '.join(found) or 'none'}"
            )
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    document = yaml.load(path.read_text())
    entry = document["config"]["berth:data"]["sets"][name]
    before = entry["version"]
    entry["version"] = sets[name].version
    if (digest := sets[name].digest) is not None:
        entry["digest"] = digest
    else:
        entry.pop("digest", None)
    write_atomically(path, _text(yaml, document), mode=0o644)
    return {"set": name, "stack": target, "from": str(before), "to": sets[name].version}


def _text(yaml: YAML, document: Any) -> str:
    stream = io.StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()


def as_text(found: dict[str, Any]) -> str:
    """The sets for a person."""
    return "\n".join(
        f"{name} {entry['version']} ({entry['digest'] or 'not pinned'}) from {entry['source']} "
        f"for {', '.join(entry['models'])}"
        for name, entry in found.items()
    ) or json.dumps({})
