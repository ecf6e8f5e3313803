"""The checks of `berth preflight` on AWS: what AWS would refuse in the middle of an update.

Each check reads only. All run at the same time and end within seconds. What an account does not
let the caller read, or an emulator does not have, is reported as not checked.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import replace

from botocore.exceptions import ClientError

from berth.platforms.aws.access import stack_prefix
from berth.platforms.aws.errors import MISSING_CLUSTER, get_code
from berth.platforms.aws.preflight_checks import (
    CHECKS,
    REQUEST_ERRORS,
    Check,
    Subject,
    check_access,
)
from berth.platforms.preflight import Finding, Status
from berth.platforms.stack_context import StackContext
from berth.spec import SpecError
from pulumi_berth.aws_identity import read_identity

_DEADLINE_SECONDS = 40.0


def run_checks(context: StackContext, deadline: float = _DEADLINE_SECONDS) -> list[Finding]:
    """Return what every check found.

    Args:
        deadline: Time limit for all checks together, in seconds. What takes longer is not checked.
    """
    subject = Subject(context=context, identity=read_identity(context.spec.aws))
    try:
        account = subject.client("sts").get_caller_identity()
    except REQUEST_ERRORS as error:
        detail = f"AWS accepted no credentials in {subject.region}: {_flatten(error)}."
        fix = "Run 'aws sso login' or 'aws configure', or set AWS_PROFILE or aws:profile."
        return [Finding(check="credentials", status=Status.FAILED, detail=detail, fix=fix)]
    detail = f"{account['Arn']} in account {account['Account']}, {subject.region}."
    found = [Finding(check="credentials", status=Status.PASSED, detail=detail)]
    try:
        subject = _add_cluster(subject)
    except REQUEST_ERRORS as error:
        found.append(_not_checked("cluster", error))
    end = time.monotonic() + deadline
    pool = ThreadPoolExecutor(max_workers=len(CHECKS))
    futures = {name: pool.submit(_run, check, subject) for name, check in CHECKS.items()}
    for name, future in futures.items():
        try:
            found += future.result(timeout=max(0.0, end - time.monotonic()))
        except FutureTimeoutError:
            detail = f"AWS did not respond within {deadline:g} s."
            found.append(Finding(check=name, status=Status.NOT_CHECKED, detail=detail))
        except REQUEST_ERRORS as error:
            found.append(_not_checked(name, error))
    pool.shutdown(wait=False, cancel_futures=True)
    return found


def _run(check: Check, subject: Subject) -> list[Finding]:
    return list(check(subject))


def _not_checked(name: str, error: Exception) -> Finding:
    return Finding(check=name, status=Status.NOT_CHECKED, detail=f"{_flatten(error)}.")


def _flatten(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".")


def _add_cluster(subject: Subject) -> Subject:
    """Return the subject with the stack's cluster, or with the information that it has none."""
    name = stack_prefix(subject.context.stack)
    try:
        cluster = subject.client("eks").describe_cluster(name=name)["cluster"]
    except ClientError as error:
        if get_code(error) == MISSING_CLUSTER:
            return replace(subject, is_new=True)
        raise
    return replace(subject, cluster=cluster)


def require_access(context: StackContext) -> None:
    """Check only that this machine reaches the cluster's API.

    Raises:
        SpecError: If it does not.
    """
    subject = Subject(context=context, identity=read_identity(context.spec.aws))
    if context.spec.kubernetes.kubeconfig is not None:
        return
    try:
        subject = _add_cluster(subject)
    except REQUEST_ERRORS:
        return  # The update itself reports what is wrong with the account.
    for finding in check_access(subject):
        if finding.status is Status.FAILED:
            raise SpecError.of(
                f"berth:cluster: {finding.detail} {finding.fix}".rstrip() + " Nothing was changed."
            )
