"""Dynamic providers: how Pulumi creates, compares, updates and deletes Berth's own resources.

**This module and the classes in it keep their names forever.** Pulumi stores the import path of a
resource's provider in the state, such as `pulumi_berth.providers.BerthProvider`, and imports it to
refresh or destroy the resource. If a name changes, every existing stack fails with "Can't get
attribute". tests/engine/test_state_fixture.py refreshes, updates and destroys an old state with
these classes.

Each class contains only the operations that Pulumi calls. The work is in plain functions of other
modules, which are free to move: a method imports them when it runs. The classes have no
attributes, so a pickled provider contains only its import path and no secret.
"""

from pathlib import Path
from typing import Any

from pulumi.dynamic import (
    CheckFailure,
    CheckResult,
    ConfigureRequest,
    CreateResult,
    DiffResult,
    ReadResult,
    ResourceProvider,
    UpdateResult,
)

Props = dict[str, Any]


class _Provider(ResourceProvider):
    # The pickled provider contains no secret, and people can read its diff in plaintext.
    serialize_as_secret_always = False

    def configure(self, req: ConfigureRequest) -> None:
        """Use the AWS identity of the stack, for registries and buckets."""
        from pulumi_berth.aws_identity import IDENTITY_SETTINGS, use_identity

        settings = {key: req.config.get(f"aws:{key}") for key in IDENTITY_SETTINGS}
        use_identity({key: value for key, value in settings.items() if value is not None})


class SupervisorProvider(_Provider):
    """Operations of `pulumi_berth.local.supervisor.Supervisor`."""

    def create(self, props: Props) -> CreateResult:
        from pulumi_berth.local import supervisor
        from pulumi_berth.local.run_dir import RunDir

        run_dir = RunDir(Path(props["run_dir"]))
        supervisor.start_empty(run_dir)
        return CreateResult(str(run_dir.path), {**props, "running": True})

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        moved = olds["run_dir"] != news["run_dir"]
        return DiffResult(
            changes=moved or not olds["running"] or not self._is_running(olds),
            replaces=["run_dir"] if moved else [],
        )

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        from pulumi_berth.local import supervisor
        from pulumi_berth.local.run_dir import RunDir

        supervisor.start(RunDir(Path(news["run_dir"])))
        return UpdateResult({**news, "running": True})

    def read(self, id_: str, props: Props) -> ReadResult:
        return ReadResult(id_, {**props, "running": self._is_running(props)})

    def delete(self, _id: str, props: Props) -> None:
        from pulumi_berth.local import supervisor
        from pulumi_berth.local.run_dir import RunDir

        supervisor.delete(RunDir(Path(props["run_dir"])))

    def _is_running(self, props: Props) -> bool:
        from pulumi_berth.local import supervisord
        from pulumi_berth.local.run_dir import RunDir

        return supervisord.is_running(RunDir(Path(props["run_dir"])))


class BerthProvider(_Provider):
    """Operations of `pulumi_berth.local.berth.BerthProcess`. The ID is the process's name."""

    def create(self, props: Props) -> CreateResult:
        from pulumi_berth.local import berth_process

        outputs = berth_process.start_new(props)
        return CreateResult(outputs["process"], {**props, **outputs})

    def diff(self, id_: str, olds: Props, news: Props) -> DiffResult:
        from pulumi_berth.local import berth_process

        changed = [key for key in berth_process.INPUTS if olds.get(key) != news.get(key)]
        is_alive = self._is_alive(id_, olds)
        if berth_process.find_drift(id_, olds, is_alive=is_alive):
            # It serves until its replacement is ready.
            changed.append("process")
        return DiffResult(
            changes=bool(changed) or not olds["running"] or not is_alive,
            replaces=changed,
            delete_before_replace=False,
        )

    def update(self, id_: str, olds: Props, news: Props) -> UpdateResult:
        """Start the process again. Every changed input causes a replacement instead."""
        from pulumi_berth.local import berth_process, supervisord
        from pulumi_berth.local.run_dir import RunDir

        run_dir = RunDir(Path(news["run_dir"]))
        if not self._is_alive(id_, news):
            supervisord.remove(run_dir, id_)
        return UpdateResult({**news, **berth_process.run(run_dir, id_, int(olds["port"]), news)})

    def read(self, id_: str, props: Props) -> ReadResult:
        return ReadResult(id_, {**props, "running": self._is_alive(id_, props)})

    def delete(self, id_: str, props: Props) -> None:
        from pulumi_berth.local import supervisord
        from pulumi_berth.local.run_dir import RunDir

        supervisord.remove(RunDir(Path(props["run_dir"])), id_)

    def _is_alive(self, id_: str, props: Props) -> bool:
        from pulumi_berth.local import supervisord
        from pulumi_berth.local.run_dir import RunDir

        return supervisord.is_alive(RunDir(Path(props["run_dir"])), id_)


class GatewayProvider(_Provider):
    """Operations of `pulumi_berth.local.gateway.GatewayProcess`."""

    def check(self, olds: Props, news: Props) -> CheckResult:
        from pulumi_berth.local import gateway_process

        conflicts = gateway_process.find_port_conflicts(olds, news)
        return CheckResult(news, [CheckFailure(key, message) for key, message in conflicts])

    def create(self, props: Props) -> CreateResult:
        from pulumi_berth.local import gateway_process
        from pulumi_berth.local.run_dir import RunDir

        run_dir = RunDir(Path(props["run_dir"]))
        outputs = gateway_process.start(run_dir, props, {})
        return CreateResult(str(run_dir.gateway), {**props, **outputs})

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        from pulumi_berth.local import gateway_process, supervisord
        from pulumi_berth.local.run_dir import RunDir

        moved = olds["run_dir"] != news["run_dir"]
        run_dir = RunDir(Path(olds["run_dir"]))
        states = supervisord.get_states(run_dir)
        return DiffResult(
            changes=moved
            or any(olds.get(key) != news.get(key) for key in gateway_process.INPUTS)
            or not gateway_process.is_alive(states)
            or bool(gateway_process.find_undeclared(states, news["berths"]))
            or gateway_process.find_drift(run_dir, olds) is not None
            or not olds["running"],
            replaces=["run_dir"] if moved else [],
        )

    def update(self, _id: str, olds: Props, news: Props) -> UpdateResult:
        """Reload the running gateway, or restart it if it cannot reload the changed inputs."""
        from pulumi_berth.local import gateway_process, supervisord
        from pulumi_berth.local.run_dir import RunDir

        run_dir = RunDir(Path(news["run_dir"]))
        can_reload = all(olds.get(key) == news.get(key) for key in gateway_process.RESTART_INPUTS)
        if can_reload and gateway_process.is_serving(run_dir, olds):
            outputs = {**olds, **news, "running": True}
            gateway_process.reload(run_dir, news, olds)
        else:
            outputs = {**news, **gateway_process.start(run_dir, news, olds)}
        states = supervisord.get_states(run_dir)
        for name in gateway_process.find_undeclared(states, news["berths"]):
            supervisord.remove(run_dir, name)
        # The new configuration uses none of the processes that a killed supervisor left.
        supervisord.end_orphans(run_dir)
        return UpdateResult(outputs)

    def read(self, id_: str, props: Props) -> ReadResult:
        from pulumi_berth.local import gateway_process, supervisord
        from pulumi_berth.local.run_dir import RunDir

        run_dir = RunDir(Path(props["run_dir"]))
        is_intact = gateway_process.is_alive(supervisord.get_states(run_dir)) and (
            gateway_process.find_drift(run_dir, props) is None
        )
        return ReadResult(id_, {**props, "running": is_intact})

    def delete(self, _id: str, props: Props) -> None:
        from pulumi_berth.local import gateway_process, supervisord
        from pulumi_berth.local.run_dir import RunDir

        run_dir = RunDir(Path(props["run_dir"]))
        for name in gateway_process.PROCESSES:
            supervisord.remove(run_dir, name)


class ApiKeyProvider(_Provider):
    """Operations of `pulumi_berth.api_key.ApiKey`. The ID is the SHA-256 of the key."""

    def create(self, props: Props) -> CreateResult:
        import secrets

        from pulumi_berth.api_key import hash_api_key

        key = f"berth_{secrets.token_urlsafe(32)}"
        sha256 = hash_api_key(key)
        return CreateResult(sha256, {**props, "key": key, "sha256": sha256})

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        renamed = olds["client"] != news["client"]
        return DiffResult(changes=renamed, replaces=["client"] if renamed else [])


class ApiLogRoleProvider(_Provider):
    """Operations of `pulumi_berth.aws.api_log_role.ApiLogRole`. The ID is the role's ARN."""

    def create(self, props: Props) -> CreateResult:
        from pulumi_berth.aws.api_log_role import ensure_role

        arn = ensure_role(props)
        return CreateResult(arn, {**props, "role_arn": arn})

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        moved = olds["region"] != news["region"]
        # The tags are those of a role that exists already.
        return DiffResult(changes=moved, replaces=["region"] if moved else [])

    def read(self, id_: str, props: Props) -> ReadResult:
        from pulumi_berth.aws.api_log_role import find_role

        arn = find_role(props["region"])
        return ReadResult(id_ if arn else "", {**props, "role_arn": arn})

    def delete(self, _id: str, _props: Props) -> None:
        """Keep the role: the other APIs of the account use it."""


class BuiltImageProvider(_Provider):
    """Operations of `pulumi_berth.images.built_image.BuiltImage`. The ID is the reference."""

    def create(self, props: Props) -> CreateResult:
        from pulumi_berth.images.image_inputs import build_image

        outputs = build_image(props)
        return CreateResult(outputs["reference"], {**props, **outputs})

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        from pulumi_berth.images.image_inputs import find_changes

        content, checks = find_changes(olds, news)
        return DiffResult(
            changes=bool(content or checks), replaces=content, delete_before_replace=False
        )

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        from pulumi_berth.images.image_inputs import build_image

        return UpdateResult({**news, **build_image(news)})

    def read(self, id_: str, props: Props) -> ReadResult:
        from pulumi_berth.oci.image_store import open_repository
        from pulumi_berth.oci.registry import split_reference

        name, digest = split_reference(id_)
        repository = open_repository(name, plain_http=props["plain_http"])
        return ReadResult(id_ if repository.digest_of(digest) else "", props)

    def delete(self, _id: str, _props: Props) -> None:
        """Keep the image in the registry, because a rollback can need it."""


class NamespaceClaimProvider(_Provider):
    """Operations of `pulumi_berth.kubernetes.namespace_claim.NamespaceClaim`. The ID is the
    owner's ID."""

    def check(self, olds: Props, news: Props) -> CheckResult:
        import secrets

        from pulumi_berth.kubernetes import namespace_claim

        problems = namespace_claim.find_problems(olds, news)
        inputs = {**news, "owner_id": olds.get("owner_id") or secrets.token_hex(6)}
        failures = [CheckFailure("namespace", problem) for problem in problems]
        return CheckResult({**inputs, **namespace_claim.create_owner(inputs)}, failures)

    def create(self, props: Props) -> CreateResult:
        return CreateResult(props["owner_id"], props)

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        from pulumi_berth.kubernetes import namespace_claim

        return _compare_namespace(olds, news, namespace_claim.find_changes(olds, news))

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        return UpdateResult(news)

    def delete(self, _id: str, props: Props) -> None:
        from pulumi_berth.kubernetes import namespace_claim, namespace_removal

        access = namespace_claim.build_access(props)
        if access is None or props["adopt"]:
            return  # The Kubernetes provider deletes or releases the namespace.
        if kept := namespace_removal.remove_namespace(namespace_claim.build_claim(props), access):
            print(kept)


class NamespaceGuardProvider(_Provider):
    """Operations of `pulumi_berth.kubernetes.namespace_claim.NamespaceGuard`."""

    def create(self, props: Props) -> CreateResult:
        return CreateResult(props["owner_id"], props)

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        from pulumi_berth.kubernetes import namespace_claim

        changed = namespace_claim.find_changes(olds, news)
        if olds["names"] != news["names"]:
            changed.append("names")
        return _compare_namespace(olds, news, changed)

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        return UpdateResult(news)

    def delete(self, _id: str, props: Props) -> None:
        from pulumi_berth.kubernetes import namespace_claim, namespace_removal

        if access := namespace_claim.build_access(props):
            namespace_removal.require_removable(namespace_claim.build_claim(props), access)


def _compare_namespace(olds: Props, news: Props, changed: list[str]) -> DiffResult:
    """Return the difference between two claims or guards. Each belongs to one namespace."""
    moved = olds["namespace"] != news["namespace"]
    return DiffResult(changes=bool(changed), replaces=["namespace"] if moved else [])


class AcceptedRouteProvider(_Provider):
    """Operations of `pulumi_berth.kubernetes.accepted_route.AcceptedRoute`. The ID is the namespace
    and the name of the Gateway."""

    def check(self, _olds: Props, news: Props) -> CheckResult:
        from pulumi_berth.kubernetes import accepted_route

        problems = accepted_route.find_problems(news)
        return CheckResult(news, [CheckFailure("parent", problem) for problem in problems])

    def create(self, props: Props) -> CreateResult:
        from pulumi_berth.kubernetes import accepted_route

        return CreateResult(accepted_route.wait_until_accepted(props), props)

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        from pulumi_berth.kubernetes import accepted_route

        changed = [key for key in accepted_route.COMPARED if olds.get(key) != news.get(key)]
        return DiffResult(changes=bool(changed), replaces=[])

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        from pulumi_berth.kubernetes import accepted_route

        accepted_route.wait_until_accepted(news)
        return UpdateResult(news)


class ReplicationBackfillProvider(_Provider):
    """Operations of `pulumi_berth.aws.replication_backfill.ReplicationBackfill`. The ID is that of
    the copy."""

    def create(self, props: Props) -> CreateResult:
        from pulumi_berth.aws.replication_backfill import start_backfill

        return CreateResult(start_backfill(props), props)

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        from pulumi_berth.aws.replication_backfill import COMPARED

        changed = [key for key in COMPARED if olds.get(key) != news.get(key)]
        return DiffResult(changes=bool(changed), replaces=changed, delete_before_replace=False)

    def delete(self, _id: str, _props: Props) -> None:
        """Keep what was copied."""


class ClusterLeftoversProvider(_Provider):
    """Operations of `pulumi_berth.aws.cluster_leftovers.ClusterLeftovers`. The ID is the cluster's
    name."""

    def create(self, props: Props) -> CreateResult:
        return CreateResult(props["cluster_name"], props)

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        from pulumi_berth.aws.cluster_leftovers import COMPARED

        moved = [key for key in COMPARED if olds.get(key) != news.get(key)]
        changed = any(olds.get(key) != news.get(key) for key in ("subnet_ids", "wait_seconds"))
        return DiffResult(
            changes=bool(moved or changed), replaces=moved, delete_before_replace=False
        )

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        return UpdateResult(news)

    def delete(self, _id: str, props: Props) -> None:
        from pulumi_berth.aws.cluster_leftovers import clear_network

        for deleted in clear_network(props):
            print(f"Deleted {deleted}, which the cluster left behind.")


class EngineImageProvider(_Provider):
    """Operations of `pulumi_berth.docker.engine_image.EngineImage`. The ID is that of the image."""

    def create(self, props: Props) -> CreateResult:
        from pulumi_berth.docker.engine_image import provide_image

        outputs = provide_image(props)
        return CreateResult(outputs["image_id"], {**props, **outputs})

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        changed = [key for key in ("host", "reference") if olds.get(key) != news.get(key)]
        return DiffResult(changes=bool(changed), replaces=changed, delete_before_replace=False)

    def read(self, id_: str, props: Props) -> ReadResult:
        from pulumi_berth.docker.engine_image import has_image

        return ReadResult(id_ if has_image(props) else "", props)

    def delete(self, _id: str, props: Props) -> None:
        from pulumi_berth.docker.engine_image import remove_image

        remove_image(props)


class VolumeFilesProvider(_Provider):
    """Operations of `pulumi_berth.docker.volume_files.VolumeFiles`. The ID is the volume's name."""

    def create(self, props: Props) -> CreateResult:
        from pulumi_berth.docker.volume_files import write_files

        return CreateResult(props["volume"], {**props, **write_files(props)})

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        moved = [key for key in ("host", "volume") if olds.get(key) != news.get(key)]
        # The image only creates the container through which files are written.
        changed = any(olds.get(key) != news.get(key) for key in ("files", "directories"))
        return DiffResult(changes=bool(moved or changed), replaces=moved)

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        from pulumi_berth.docker.volume_files import write_files

        return UpdateResult({**news, **write_files(news)})

    def read(self, id_: str, props: Props) -> ReadResult:
        from pulumi_berth.docker.volume_files import has_files

        return ReadResult(id_ if has_files(props) else "", props)

    def delete(self, _id: str, _props: Props) -> None:
        """Keep the files until the engine deletes their volume: an older gateway may read them."""


class ReadyContainerProvider(_Provider):
    """Operations of `pulumi_berth.docker.ready_container.ReadyContainer`. The ID is that of the
    container."""

    def create(self, props: Props) -> CreateResult:
        from pulumi_berth.docker.ready_container import wait_until_ready

        return CreateResult(props["container"], {**props, **wait_until_ready(props)})

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        from pulumi_berth.docker.ready_container import INPUTS

        changed = [key for key in INPUTS if olds.get(key) != news.get(key)]
        moved = [key for key in changed if key in ("host", "container")]
        return DiffResult(changes=bool(changed), replaces=moved, delete_before_replace=False)

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        from pulumi_berth.docker.ready_container import wait_until_ready

        return UpdateResult({**news, **wait_until_ready(news)})


class GatewayTurnProvider(_Provider):
    """Operations of `pulumi_berth.docker.gateway_turn.GatewayTurn`. The ID is that of the entry."""

    def create(self, props: Props) -> CreateResult:
        from pulumi_berth.docker.gateway_turn import take_turn

        return CreateResult(props["entry"], {**props, **take_turn(props)})

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        from pulumi_berth.docker.gateway_turn import INPUTS

        changed = [key for key in INPUTS if olds.get(key) != news.get(key)]
        moved = [key for key in changed if key in ("host", "entry")]
        return DiffResult(changes=bool(changed), replaces=moved)

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        from pulumi_berth.docker.gateway_turn import take_turn

        return UpdateResult({**news, **take_turn(news)})


class ServedCertificateProvider(_Provider):
    """Operations of `pulumi_berth.docker.served_certificate.ServedCertificate`. The ID is that of
    the proxy's container."""

    def create(self, props: Props) -> CreateResult:
        from pulumi_berth.docker.served_certificate import wait_for_certificate

        wait_for_certificate(props)
        return CreateResult(props["proxy"], props)

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        from pulumi_berth.docker.served_certificate import INPUTS

        changed = [key for key in INPUTS if olds.get(key) != news.get(key)]
        moved = [key for key in changed if key in ("host", "proxy")]
        return DiffResult(changes=bool(changed), replaces=moved, delete_before_replace=False)

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        from pulumi_berth.docker.served_certificate import wait_for_certificate

        wait_for_certificate(news)
        return UpdateResult(news)
