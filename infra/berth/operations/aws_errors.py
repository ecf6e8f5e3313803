"""What AWS refuses or cannot be asked, as a message that says what to do."""

import contextlib
from collections.abc import Iterator

from botocore import exceptions
from botocore.exceptions import BotoCoreError, ClientError

from berth.operations.stack import OperationError

_NO_CREDENTIALS = (
    exceptions.NoCredentialsError,
    exceptions.PartialCredentialsError,
    exceptions.CredentialRetrievalError,
    exceptions.ProfileNotFound,
    exceptions.SSOError,
    exceptions.TokenRetrievalError,
)
_UNREACHED = (exceptions.EndpointConnectionError, exceptions.ConnectTimeoutError)
_BAD_CREDENTIALS = (
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
)
_REFUSED = ("403", "AccessDenied", "AccessDeniedException", "UnauthorizedOperation")
_SIGN_IN = (
    "sign in with `aws sso login`, or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY; `aws sts get-caller-identity` tells who you are"
)


def code_of(error: ClientError) -> str:
    """AWS's word for what went wrong, such as `NoSuchBucketPolicy`."""
    return str(error.response.get("Error", {}).get("Code", ""))


@contextlib.contextmanager
def aws_errors(rights: str) -> Iterator[None]:
    """What AWS's client raises in the block, as OperationError.

    Args:
        rights: where the rights that the block needs are listed.
    """
    try:
        yield
    except ClientError as error:
        raise OperationError(_answered(error, rights)) from error
    except exceptions.NoRegionError as error:
        raise OperationError(
            "which AWS region? give --region, such as --region eu-central-1, or set AWS_REGION"
        ) from error
    except _NO_CREDENTIALS as error:
        raise OperationError(f"no AWS credentials: {error}; {_SIGN_IN}") from error
    except _UNREACHED as error:
        raise OperationError(
            f"{error}; is the region's name right, and is there a way out to it from here?"
        ) from error
    except BotoCoreError as error:
        raise OperationError(str(error)) from error


def _answered(error: ClientError, rights: str) -> str:
    code = code_of(error)
    if code in _BAD_CREDENTIALS:
        return f"AWS does not take these credentials ({code}); {_SIGN_IN}"
    if code in _REFUSED:
        return f"{error}; the rights that this needs: {rights}"
    return str(error)
