"""What a stack on AWS must meet before an update, a preview or a rollback starts."""

from datetime import date

from berth.platforms.aws import reach
from berth.platforms.aws.access import limit_requests, require_credentials, stack_prefix
from berth.platforms.aws.capacity import check_fit, require_capacity
from berth.platforms.aws.errors import MISSING_CLUSTER, REQUEST_ERRORS, flatten_error, get_code
from berth.platforms.aws.replication_rules import check_rules
from berth.platforms.aws.support import require_supported
from berth.platforms.kubernetes.cluster import get_cluster_access, require_cluster
from berth.platforms.preflight import Finding, Requirement, Status
from berth.platforms.stack_context import StackContext
from berth.spec import SpecError
from pulumi_berth.aws_identity import read_identity


def list_requirements() -> list[Requirement]:
    """Return the requirements, those that need no request first."""
    return [
        Requirement(name="cluster-version", check=_check_version),
        Requirement(name="capacity", check=_check_capacity),
        Requirement(name="credentials", check=_check_credentials, stops_checks=True),
        Requirement(name="cluster-access", check=_check_access),
        Requirement(name="replication-rules", check=check_rules),
    ]


def _check_version(context: StackContext) -> Finding:
    cluster = context.spec.cluster
    require_supported(cluster, date.today())
    detail = f"EKS runs {cluster.version} with support: {cluster.support}."
    return Finding(check="cluster-version", status=Status.PASSED, detail=detail)


def _check_capacity(context: StackContext) -> Finding:
    check = "capacity"
    require_capacity(context.spec)
    if not check_fit(context.spec):
        detail = "Berth's table lacks an instance type of each class of nodes."
        return Finding(check=check, status=Status.NOT_CHECKED, detail=detail)
    detail = "The Pods fit on the node pools at their maximum."
    return Finding(check=check, status=Status.PASSED, detail=detail)


def _check_credentials(context: StackContext) -> Finding:
    check, settings = "credentials", context.spec.aws
    account = require_credentials(settings)
    if account is None:
        detail = "aws:skipCredentialsValidation is set."
        return Finding(check=check, status=Status.NOT_CHECKED, detail=detail)
    detail = f"{account['Arn']} in account {account['Account']}, {settings['region']}."
    return Finding(check=check, status=Status.PASSED, detail=detail)


def _check_access(context: StackContext) -> Finding:
    """Check that this machine reaches the cluster's API.

    Raises:
        SpecError: If it does not.
    """
    check, kubernetes = "cluster-access", context.spec.kubernetes
    if kubernetes.kubeconfig is not None:
        access = get_cluster_access(kubernetes.kubeconfig, kubernetes.context, context.root)
        facts = require_cluster(access)
        detail = f"The cluster at {facts.host} meets Berth's requirements."
        return Finding(check=check, status=Status.PASSED, detail=detail)
    if reach.has_proxy():
        detail = "HTTPS_PROXY is set: the cluster sees the address of the proxy."
        return Finding(check=check, status=Status.NOT_CHECKED, detail=detail)
    try:
        endpoint = _read_endpoint(context)
    except REQUEST_ERRORS as error:
        # The update itself reports what is wrong with the account.
        detail = f"EKS did not report whether the stack has a cluster: {flatten_error(error)}."
        return Finding(check=check, status=Status.NOT_CHECKED, detail=detail)
    if endpoint is not None and reach.accepts_connections(endpoint.host):
        detail = f"{endpoint.host} accepts connections from this machine."
        return Finding(check=check, status=Status.PASSED, detail=detail)
    caller = reach.find_caller(context.spec)
    problem = reach.explain_unreachable(context.spec, context.stack, caller, endpoint)
    if problem is None and endpoint is not None:
        problem = (
            f"{endpoint.host} does not accept connections, although it admits this machine. Check "
            "routes and firewalls between this machine and the VPC."
        )
    if problem is not None:
        raise SpecError.of(f"berth:cluster: {problem} Nothing was changed.")
    if caller.public is None:
        detail = f"{reach.ADDRESS_URL} did not return the address of this machine."
        return Finding(check=check, status=Status.NOT_CHECKED, detail=detail)
    detail = f"The public endpoint will admit {caller.public}, the address of this machine."
    return Finding(check=check, status=Status.PASSED, detail=detail)


def _read_endpoint(context: StackContext) -> reach.Endpoint | None:
    """Return the endpoint of the deployed cluster, or None if the stack has no cluster yet."""
    settings = context.spec.aws
    client = read_identity(settings).create_client(
        "eks", region=str(settings["region"]), config=limit_requests()
    )
    try:
        cluster = client.describe_cluster(name=stack_prefix(context.stack))["cluster"]
    except REQUEST_ERRORS as error:
        if get_code(error) == MISSING_CLUSTER:
            return None
        raise
    return reach.read_endpoint(cluster)
