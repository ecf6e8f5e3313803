"""`berth data`: sets of reference data, versioned and promoted apart from the models."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ruamel.yaml import YAML

from berth.errors import OperationError
from berth.platforms import get_platform
from berth.spec import HostingSpec, load_file
from berth_data.manifest import DatasetError, write_manifest
from pulumi_berth.datasets.artifact import push_dataset
from pulumi_berth.datasets.bucket_dataset import BucketDataset, BucketError
from pulumi_berth.files import replace_atomically
from pulumi_berth.oci.registry import RegistryError, Repository

OWN_BUCKET = "the stack's own bucket"


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
            return push_dataset(folder, repository, version)
        if source.scheme == "s3":
            place = BucketDataset.parse(f"{source.netloc}{source.path.rstrip('/')}/{version}")
            return place.push(folder, say)
        if source.scheme:
            raise OperationError(
                f"{target}: must be oci://registry/name, s3://bucket/prefix, or a folder"
            )
        return _copy(folder, Path(target) / version)
    except (RegistryError, BucketError, DatasetError, OSError) as error:
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
        name: {"version": entry.version, "digest": entry.digest,
               "source": entry.source or OWN_BUCKET, "models": list(entry.models)}
        for name, entry in spec.data.datasets.items()
    }  # fmt: skip


def promote(
    name: str, root: Path, *, source: str, target: str, say: Callable[[str], None]
) -> dict[str, Any]:
    """Write the version and digest of a set that stack `source` reads into stack `target`; where
    each reads it from its own bucket, bring the data there first.

    Nothing else of the target changes: its next `up` takes the models' pods to the new data.

    Raises:
        OperationError: one of the stacks has no such set, or the data cannot be brought.
    """
    path = root / f"Pulumi.{target}.yaml"
    ours, theirs = load_file(root / f"Pulumi.{source}.yaml"), load_file(path)
    for stack, found in ((source, ours.data.datasets), (target, theirs.data.datasets)):
        if name not in found:
            raise OperationError(
                f"stack {stack} has no set of data {name!r}; it has: {', '.join(found) or 'none'}"
            )
    sets = ours.data.datasets
    if sets[name].source is None and theirs.data.datasets[name].source is None:
        place = f"{name}/{sets[name].version}"
        open_source = get_platform(ours.platform).open_own_dataset
        open_target = get_platform(theirs.platform).open_own_dataset
        # The specification requires a source on platforms whose stacks have no bucket.
        assert open_source is not None
        assert open_target is not None
        _bring(
            open_source(ours, source, place),
            open_target(theirs, target, place),
            sets[name].digest,
            say,
        )
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    document = yaml.load(path.read_text())
    entry = document["config"]["berth:data"]["datasets"][name]
    before = entry["version"]
    entry["version"] = sets[name].version
    if (digest := sets[name].digest) is not None:
        entry["digest"] = digest
    else:
        entry.pop("digest", None)
    replace_atomically(path, _text(yaml, document), mode=0o644)
    return {"set": name, "stack": target, "from": str(before), "to": sets[name].version}


def _bring(
    ours: BucketDataset, theirs: BucketDataset, pinned: str | None, say: Callable[[str], None]
) -> None:
    try:
        if pinned not in (None, ours.digest()):
            raise OperationError(f"s3://{ours.name} is not the pinned {pinned}; nothing was copied")
        theirs.copy_from(ours, say)
    except (BucketError, DatasetError) as error:
        raise OperationError(str(error)) from error


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
