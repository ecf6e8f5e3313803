"""The release as a change of another stack's configuration file.

Only what belongs to the release changes. Comments, order and everything that belongs to the stack
stay, so that the change is a small diff.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from berth.errors import OperationError
from berth.operations.configuration import dump_configuration, load_configuration
from berth.operations.promotion.release import Release, ReleasedVersion
from berth.spec import DatasetSpec, HostingSpec

_VERSION_KEYS = ("path", "digest", "image", "container")
# What a model that is new in the target takes from the source, because the target has no value.
_NEW_MODEL_KEYS = ("failover", "compute", "replicas", "resources", "serving")


@dataclass(frozen=True, kw_only=True)
class Edit:
    """What to write.

    Attributes:
        release: The release.
        source: Specification of the stack that runs it.
        target: Specification of the other stack before the change.
        pins: (model, version) -> digest of the image that the other stack runs. Other versions get
            no image, because the other stack has none or builds it.
        digests: Dataset name -> digest that pins its version.
    """

    release: Release
    source: HostingSpec
    target: HostingSpec
    pins: Mapping[tuple[str, str], str] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)


def write_release(text: str, edit: Edit) -> str:
    """Return the configuration file `text` with the release.

    Versions that only the other stack has stay deployed, without traffic. Its shadow stays while it
    is a version without traffic.
    """
    yaml, document = load_configuration(text)
    config = document["config"]
    for model in edit.release.models:
        _write_model(config["berth:models"], model, edit)
    if edit.release.datasets:
        data = config.setdefault("berth:data", CommentedMap())
        datasets = data.setdefault("datasets", CommentedMap())
        for name, entry in edit.release.datasets.items():
            _write_dataset(datasets, name, entry, edit)
    return dump_configuration(yaml, document, text)


def _write_model(models: Any, name: str, edit: Edit) -> None:
    released, target = edit.release.models[name], edit.target.models.get(name)
    if name not in models:
        models[name] = CommentedMap(versions=CommentedMap())
        settings = edit.source.models[name].model_dump(exclude_unset=True, mode="json")
        for key in _NEW_MODEL_KEYS:
            if key in settings:
                _set(models[name], key, settings[key])
    entry = models[name]
    versions = entry["versions"]
    keys = {str(key): key for key in versions}
    for version, each in released.versions.items():
        key = keys.get(version, DoubleQuotedScalarString(version))
        if versions.get(key) is None:
            versions[key] = CommentedMap()
        before = None if target is None else target.versions.get(version)
        is_same = before is not None and before.digest == each.digest is not None
        _write_version(versions[key], each, edit.pins.get((name, version)), keeps_image=is_same)
    before_traffic = {} if target is None else {v: w for v, w in target.traffic.items() if w}
    # A model with one version may omit its traffic, and then it receives all.
    is_needed = len(versions) > 1 and "traffic" not in entry
    if is_needed or ("traffic" in entry and before_traffic != released.traffic):
        entry["traffic"] = _flow_map(
            {DoubleQuotedScalarString(v): weight for v, weight in released.traffic.items()}
        )
    shadow = None if target is None else target.shadow
    if shadow is not None and shadow in released.traffic:
        del entry["shadow"]


def _write_version(
    entry: Any, released: ReleasedVersion, pin: str | None, *, keeps_image: bool
) -> None:
    spec = released.spec
    container = spec.container
    _set(entry, "path", spec.path)
    _set(entry, "digest", released.digest if container is None else None)
    if pin is not None or not keeps_image:
        _set(entry, "image", pin)
    plain = None if container is None else container.model_dump(exclude_unset=True, mode="json")
    _set(entry, "container", plain)


def _write_dataset(datasets: Any, name: str, entry: DatasetSpec, edit: Edit) -> None:
    if name not in datasets:
        models = [
            model
            for model in entry.models
            if model in edit.target.models or model in edit.release.models
        ]
        datasets[name] = CommentedMap()
        _set(datasets[name], "source", entry.source)
        _set(datasets[name], "models", models)
    if str(datasets[name].get("version")) != entry.version:
        datasets[name]["version"] = DoubleQuotedScalarString(entry.version)
    _set(datasets[name], "digest", edit.digests.get(name, entry.digest))


def _set(node: Any, key: str, value: Any) -> None:
    """Set or remove a key. An equal value keeps its form and its comments."""
    if value is None:
        node.pop(key, None)
    elif _to_plain(node.get(key)) != value:
        node[key] = _to_yaml(value)


def _to_plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _to_plain(item) for key, item in value.items()}
    return [_to_plain(item) for item in value] if isinstance(value, list) else value


def _to_yaml(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return _flow_map({key: _to_yaml(item) for key, item in value.items()})


def _flow_map(content: Mapping[Any, Any]) -> CommentedMap:
    result = CommentedMap(content)
    result.fa.set_flow_style()
    return result


def require_only_release_changed(before: HostingSpec, after: HostingSpec, release: Release) -> None:
    """Check that nothing changed that belongs to the stack.

    In a file with YAML anchors, an edit in one place can change others.

    Raises:
        OperationError: If something else changed.
    """
    kept, result = (_without_release(spec, before, release) for spec in (before, after))
    for section in kept:
        if kept[section] != result[section]:
            raise OperationError(
                f"The release would also change other values of berth:{section}, because the file "
                "has a YAML anchor or merge key there. Nothing was changed. Write out the values "
                "of the promoted models, and promote again."
            )


def _without_release(spec: HostingSpec, before: HostingSpec, release: Release) -> dict[str, Any]:
    """Return a specification as plain data, without the release and what is new with it."""
    plain = spec.model_dump(mode="json")
    models, datasets = plain["models"], plain["data"]["datasets"]
    for name in release.models:
        if name not in before.models:
            models.pop(name, None)
            continue
        for key in ("traffic", "shadow"):
            models[name].pop(key)
        for version in release.models[name].versions:
            entry = models[name]["versions"].pop(version, {})
            if version in before.models[name].versions:
                models[name]["versions"][version] = _without(entry, _VERSION_KEYS)
    for name in release.datasets:
        entry = datasets.pop(name, {})
        if name in before.data.datasets:
            datasets[name] = _without(entry, ("version", "digest"))
    return plain


def _without(entry: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in keys}
