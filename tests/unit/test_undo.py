"""Whether a rollback restores a change: the table of verdicts."""

from typing import Any

import pytest

from berth.operations.resource_changes import Operation, ResourceChange
from berth.operations.undo import Undo, UndoFacts, Verdict, find_worst, judge
from berth.platforms import get_platform
from berth.platforms.kept_data import CLIENT_KEYS

_BUCKET, _KEY = "aws:s3/bucket:Bucket", "aws:kms/key:Key"
_CLAIM = "kubernetes:core/v1:PersistentVolumeClaim"
_AWS = get_platform("aws")


def _change(kind: str = "x:y:Thing", operation: str = "update", **more: Any) -> ResourceChange:
    return ResourceChange(
        **{
            "urn": "u",
            "type": kind,
            "name": "a",
            "component": "stack",
            "operation": Operation(operation),
            "properties": ("size",) if operation in ("update", "replace") else (),
            **more,
        }
    )


def _facts(**more: Any) -> UndoFacts:
    return UndoFacts(**{"release": 1, "kept_data": _AWS.kept_data, "one_way": _AWS.one_way, **more})


@pytest.mark.parametrize(
    ("change", "facts", "undo", "reason"),
    [
        pytest.param(_change(), _facts(), Undo.YES, "", id="update"),
        pytest.param(_change(operation="create"), _facts(), Undo.YES, "", id="create"),
        pytest.param(_change(operation="delete"), _facts(), Undo.YES, "", id="delete"),
        pytest.param(_change(operation="replace"), _facts(), Undo.YES, "", id="replace"),
        pytest.param(
            _change(operation="replace", has_gap=True),
            _facts(),
            Undo.DOWNTIME,
            "deleted before",
            id="replacement with a gap",
        ),
        pytest.param(
            _change(_BUCKET, "replace"), _facts(), Undo.LOSS, "the objects", id="bucket replaced"
        ),
        pytest.param(
            _change(_BUCKET, "create"), _facts(), Undo.YES, "deletes the objects", id="new bucket"
        ),
        pytest.param(_change(_BUCKET), _facts(), Undo.YES, "", id="bucket updated"),
        pytest.param(_change(_KEY, "delete"), _facts(), Undo.NO, "only this key", id="key"),
        pytest.param(
            _change(_CLAIM, properties=("spec.resources.requests.storage",)),
            _facts(),
            Undo.NO,
            "smaller",
            id="volume that grows",
        ),
        pytest.param(
            _change(_CLAIM, properties=("metadata.labels.a",)),
            _facts(),
            Undo.YES,
            "",
            id="other property of a volume",
        ),
        pytest.param(
            _change(CLIENT_KEYS, "create"), _facts(), Undo.KEPT, "client", id="client added"
        ),
        pytest.param(
            _change(CLIENT_KEYS, "delete"), _facts(), Undo.NO, "valid again", id="client removed"
        ),
        pytest.param(
            _change(_BUCKET, "create"),
            _facts(release=None),
            Undo.YES,
            "berth destroy",
            id="first update",
        ),
        pytest.param(
            _change(),
            _facts(release=None),
            Undo.NO,
            "no update has succeeded",
            id="after a first update that failed",
        ),
        pytest.param(
            _change(),
            _facts(obstacles=("models/digits/1 is missing",)),
            Undo.NO,
            "models/digits/1 is missing",
            id="refused",
        ),
        pytest.param(
            _change(properties=("digest", "environment.A")),
            _facts(remaining={"u": ("digest",)}),
            Undo.NO,
            "digest changes with the program or its files",
            id="files of the model changed",
        ),
        pytest.param(
            _change(properties=()),
            _facts(remaining={"u": ()}),
            Undo.YES,
            "",
            id="repair of drift",
        ),
        pytest.param(
            _change(operation="delete"),
            _facts(remaining={"u": ()}),
            Undo.NO,
            "Thing changes with the program",
            id="resource that the program no longer declares",
        ),
        pytest.param(
            _change(properties=("config",)),
            _facts(remaining={"u": ()}, following={"u": ("address",)}),
            Undo.YES,
            "",
            id="only the address of another resource differs",
        ),
        pytest.param(
            _change(properties=("reference",)),
            _facts(remaining={"u": (), "v": ("digest",)}, following={"u": ("reference",)}),
            Undo.NO,
            "reference changes with the program or its files",
            id="image follows from other files of the model",
        ),
        pytest.param(
            _change(properties=("reference",)),
            _facts(remaining={"u": (), "v": ()}, following={"u": ("reference",)}),
            Undo.YES,
            "",
            id="image follows from one that is built again",
        ),
        pytest.param(
            _change(properties=("config",)),
            _facts(
                remaining={"u": ()},
                following={"u": ("address",)},
                kept_clients=("Client 'a' stays.",),
            ),
            Undo.KEPT,
            "clients",
            id="address of another resource, and perhaps clients",
        ),
        pytest.param(
            _change(),
            _facts(remaining={"u": ("config",)}, kept_clients=("Client 'a' stays.",)),
            Undo.KEPT,
            "clients",
            id="gateway with another client",
        ),
        pytest.param(
            _change(),
            _facts(remaining={"u": ("program_digest",)}, kept_clients=("Client 'a' stays.",)),
            Undo.NO,
            "program_digest",
            id="program and another client",
        ),
        pytest.param(
            _change(),
            _facts(missing={"u": "the registry no longer has the image"}),
            Undo.NO,
            "no longer has the image",
            id="image is gone",
        ),
    ],
)
def test_verdict_follows_from_change_and_facts(
    change: ResourceChange, facts: UndoFacts, undo: Undo, reason: str
) -> None:
    verdict = judge(change, facts)
    assert verdict.undo is undo
    assert reason in verdict.reason
    assert bool(verdict.reason) == bool(reason)


def test_verdict_on_an_update_is_the_worst_of_its_changes() -> None:
    verdicts = [Verdict(undo=undo) for undo in (Undo.YES, Undo.LOSS, Undo.DOWNTIME, Undo.KEPT)]
    assert find_worst(verdicts).undo is Undo.LOSS
    assert find_worst([]).undo is Undo.YES


@pytest.mark.parametrize("name", ["local", "docker", "kubernetes", "aws"])
def test_every_platform_knows_what_a_client_key_is(name: str) -> None:
    assert CLIENT_KEYS in get_platform(name).kept_data
