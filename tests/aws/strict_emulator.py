"""A layer over the emulator that refuses what AWS refuses: see `strict_rules`.

It also adds the updates of node groups, which the emulator lacks, and records the changes of EKS
in their order.
"""

import io
import json
import time
import uuid
from collections.abc import Callable, Iterable
from datetime import date
from typing import Any
from urllib.parse import unquote, urlsplit

from moto.eks.models import eks_backends
from moto.iam.models import iam_backends
from moto.logs.models import logs_backends
from werkzeug.wrappers import Response

from tests.aws import strict_rules
from tests.aws.strict_rules import Refusal

ACCOUNT = "123456789012"
CHANGES_PATH = "/strict/eks-changes"
_RESET_PATH = "/moto-api/reset"
_DELETE_LOG_GROUP = "Logs_20140328.DeleteLogGroup"
_ACTIVATE_TAGS = "AWSInsightsIndexService.UpdateCostAllocationTagsStatus"

Environ = dict[str, Any]
App = Callable[[Environ, Any], Iterable[bytes]]


class StrictApp:
    """The emulator as a WSGI application, with the refusals of AWS in front of it."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._clusters: set[str] = set()
        self._changes: list[list[Any]] = []

    def __call__(self, environ: Environ, start: Any) -> Iterable[bytes]:
        raw = environ.get("REQUEST_URI") or environ["PATH_INFO"]
        path = urlsplit(raw).path
        if path == CHANGES_PATH:
            return _json(self._changes)(environ, start)
        if path == _RESET_PATH:
            self._clusters.clear()
            self._changes.clear()
        parts = [unquote(part) for part in path.strip("/").split("/")]
        response = None
        if parts[0] == "clusters" and environ["REQUEST_METHOD"] in ("POST", "PUT"):
            response = self._change_cluster(_region(environ), parts, _read_json(environ))
        elif environ.get("HTTP_X_AMZ_TARGET") == _DELETE_LOG_GROUP:
            return self._delete_log_group(environ, start)
        elif environ.get("HTTP_X_AMZ_TARGET") == _ACTIVATE_TAGS:
            tags = _read_json(environ)["CostAllocationTagsStatus"]
            # The account of the emulator is new: it has no bill yet.
            errors = strict_rules.check_activation((tag["TagKey"] for tag in tags), ())
            response = _json({"Errors": errors})
        return (response or self._app)(environ, start)

    def _change_cluster(
        self, region: str, parts: list[str], body: dict[str, Any]
    ) -> Response | None:
        refusal = self._check(region, parts, body)
        if refusal is not None:
            response = _json(strict_rules.describe(refusal), refusal.status)
            response.headers["x-amzn-ErrorType"] = refusal.code
            return response
        self._changes.append(["/".join(parts[1:]), body])
        if len(parts) == 1:
            self._clusters.add(body["name"])
        if parts[2:3] == ["node-groups"] and parts[-1] == "update-version":
            return _update_nodes(region, parts, body)
        return None

    def _check(self, region: str, parts: list[str], body: dict[str, Any]) -> Refusal | None:
        today = date.today()
        clusters = eks_backends[ACCOUNT][region].clusters
        if len(parts) == 1:
            return strict_rules.check_version(body["version"], today)
        cluster = clusters.get(parts[1])
        if cluster is None:
            return None
        match parts[2:]:
            case ["updates"]:
                return strict_rules.check_upgrade(cluster.version, body["version"], today)
            case ["access-entries"]:
                roles = iam_backends[ACCOUNT]["aws"].roles.values()
                return strict_rules.check_principal(
                    body["principalArn"], (role.arn for role in roles)
                )
            case ["addons"]:
                return strict_rules.check_addon(
                    body["addonName"], body.get("addonVersion"), cluster.version
                )
            case ["addons", name, "update"]:
                return strict_rules.check_addon(name, body.get("addonVersion"), cluster.version)
            case ["node-groups"]:
                version = body.get("version") or cluster.version
                return strict_rules.check_scaling(
                    {}, body["scalingConfig"]
                ) or strict_rules.check_node_version(cluster.version, version)
            case ["node-groups", name, "update-config"] if "scalingConfig" in body:
                current = cluster.nodegroups[name].scaling_config
                return strict_rules.check_scaling(current, body["scalingConfig"])
            case ["node-groups", _, "update-version"] if "version" in body:
                return strict_rules.check_node_version(cluster.version, body["version"])
        return None

    def _delete_log_group(self, environ: Environ, start: Any) -> Iterable[bytes]:
        name = _read_json(environ)["logGroupName"]
        response = list(self._app(environ, start))
        for cluster in strict_rules.find_late_clusters(self._clusters, name):
            logs_backends[ACCOUNT][_region(environ)].create_log_group(name, {})
            # The last lines of a cluster arrive once.
            self._clusters.discard(cluster)
        return response


def _update_nodes(region: str, parts: list[str], body: dict[str, Any]) -> Response:
    """Roll a node group to another version or launch template."""
    group = eks_backends[ACCOUNT][region].clusters[parts[1]].nodegroups[parts[3]]
    if "version" in body:
        group.version = body["version"]
    if "launchTemplate" in body:
        group.launch_template = {**(group.launch_template or {}), **body["launchTemplate"]}
    update = {
        "id": str(uuid.uuid4()), "status": "Successful", "type": "VersionUpdate", "params": [],
        "errors": [], "createdAt": time.time(),
    }  # fmt: skip
    return _json({"update": update})


def _read_json(environ: Environ) -> dict[str, Any]:
    """Return the body, and leave it to be read again."""
    length = int(environ.get("CONTENT_LENGTH") or 0)
    body = environ["wsgi.input"].read(length)
    environ["wsgi.input"] = io.BytesIO(body)
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _region(environ: Environ) -> str:
    """Return the Region that the request is signed for."""
    credential = environ.get("HTTP_AUTHORIZATION", "").partition("Credential=")[2].split("/")
    return credential[2] if len(credential) > 2 else "us-east-1"


def _json(document: object, status: int = 200) -> Response:
    return Response(json.dumps(document), status, content_type="application/json")
