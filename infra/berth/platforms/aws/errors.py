"""Errors of the AWS client as messages that state what to do."""

import contextlib
from collections.abc import Iterator

from botocore import exceptions
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from berth.errors import OperationError

MISSING_CLUSTER = "ResourceNotFoundException"
"""Code of EKS for a cluster that does not exist."""
REQUEST_ERRORS = (BotoCoreError, ClientError, ResponseParserError)
"""Errors of a request: unreachable, rejected, or a response that is not one of AWS."""
_MAX_CHARACTERS = 300
_NO_CREDENTIALS = (
    exceptions.NoCredentialsError,
    exceptions.PartialCredentialsError,
    exceptions.CredentialRetrievalError,
    exceptions.ProfileNotFound,
    exceptions.SSOError,
    exceptions.TokenRetrievalError,
)
_UNREACHABLE = (exceptions.EndpointConnectionError, exceptions.ConnectTimeoutError)
_BAD_CREDENTIALS = (
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
)
_DENIED = ("403", "AccessDenied", "AccessDeniedException", "UnauthorizedOperation")
_SIGN_IN = (
    "Sign in with 'aws sso login', set AWS_PROFILE, or set AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY."
)


def get_code(error: Exception) -> str:
    """Return AWS's code for the error, such as `NoSuchBucketPolicy`.

    It is empty if AWS did not respond.
    """
    response = error.response if isinstance(error, ClientError) else {}
    return str(response.get("Error", {}).get("Code", ""))


def flatten_error(error: Exception) -> str:
    """Return the error's message on one line, without a full stop at its end."""
    return " ".join(str(error).split())[:_MAX_CHARACTERS].rstrip(".")


@contextlib.contextmanager
def explain_aws_errors(permissions: str) -> Iterator[None]:
    """Turn the AWS client's errors in the block into OperationError.

    Args:
        permissions: The page that lists the permissions that the block needs.
    """
    try:
        yield
    except ClientError as error:
        raise OperationError(_explain(error, permissions)) from error
    except exceptions.NoRegionError as error:
        raise OperationError(
            "No AWS Region is set. Add --region, such as --region eu-central-1, or set AWS_REGION."
        ) from error
    except _NO_CREDENTIALS as error:
        raise OperationError(f"No AWS credentials: {error}. {_SIGN_IN}") from error
    except _UNREACHABLE as error:
        raise OperationError(
            f"{error}. Check the name of the Region and this machine's network connection."
        ) from error
    except BotoCoreError as error:
        raise OperationError(str(error)) from error


def _explain(error: ClientError, permissions: str) -> str:
    code = get_code(error)
    if code in _BAD_CREDENTIALS:
        return f"AWS rejected the credentials ({code}). {_SIGN_IN}"
    if code in _DENIED:
        return f"{error}. See {permissions} for the required permissions."
    return str(error)
