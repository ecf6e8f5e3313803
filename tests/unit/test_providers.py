"""The import paths of dynamic providers, which existing states contain."""

import base64

import pytest
from pulumi.dynamic import ResourceProvider
from pulumi.dynamic.dynamic import serialize_provider

from pulumi_berth import providers

# As in the states of deployed stacks. These values never change.
_STORED = {
    "AcceptedRouteProvider": (
        "gASVNwAAAAAAAACMFnB1bHVtaV9iZXJ0aC5wcm92aWRlcnOUjBVBY2NlcHRlZFJvdXRlUHJvdmlkZXKUk5QpgZQu"
    ),
    "ApiKeyProvider": (
        "gASVMAAAAAAAAACMFnB1bHVtaV9iZXJ0aC5wcm92aWRlcnOUjA5BcGlLZXlQcm92aWRlcpSTlCmBlC4="
    ),
    "ApiLogRoleProvider": (
        "gASVNAAAAAAAAACMFnB1bHVtaV9iZXJ0aC5wcm92aWRlcnOUjBJBcGlMb2dSb2xlUHJvdmlkZXKUk5QpgZQu"
    ),
    "BerthProvider": (
        "gASVLwAAAAAAAACMFnB1bHVtaV9iZXJ0aC5wcm92aWRlcnOUjA1CZXJ0aFByb3ZpZGVylJOUKYGULg=="
    ),
    "BuiltImageProvider": (
        "gASVNAAAAAAAAACMFnB1bHVtaV9iZXJ0aC5wcm92aWRlcnOUjBJCdWlsdEltYWdlUHJvdmlkZXKUk5QpgZQu"
    ),
    "ClusterLeftoversProvider": (
        "gASVOgAAAAAAAACMFnB1bHVtaV9iZXJ0aC5wcm92aWRlcnOUjBhDbHVzdGVyTGVmdG92ZXJzUHJvdmlkZXKUk5QpgZQu"
    ),
    "EngineImageProvider": (
        "gASVNQAAAAAAAACMFnB1bHVtaV9iZXJ0aC5wcm92aWRlcnOUjBNFbmdpbmVJbWFnZVByb3ZpZGVylJOUKYGULg=="
    ),
    "GatewayProvider": (
        "gASVMQAAAAAAAACMFnB1bHVtaV9iZXJ0aC5wcm92aWRlcnOUjA9HYXRld2F5UHJvdmlkZXKUk5QpgZQu"
    ),
    "GatewayTurnProvider": (
        "gASVNQAAAAAAAACMFnB1bHVtaV9iZXJ0aC5wcm92aWRlcnOUjBNHYXRld2F5VHVyblByb3ZpZGVylJOUKYGULg=="
    ),
    "NamespaceClaimProvider": (
        "gASVOAAAAAAAAACMFnB1bHVtaV9iZXJ0aC5wcm92aWRlcnOUjBZOYW1lc3BhY2VDbGFpbVByb3ZpZGVylJOUKYGULg=="
    ),
    "NamespaceGuardProvider": (
        "gASVOAAAAAAAAACMFnB1bHVtaV9iZXJ0aC5wcm92aWRlcnOUjBZOYW1lc3BhY2VHdWFyZFByb3ZpZGVylJOUKYGULg=="
    ),
    "ReadyContainerProvider": (
        "gASVOAAAAAAAAACMFnB1bHVtaV9iZXJ0aC5wcm92aWRlcnOUjBZSZWFkeUNvbnRhaW5lclByb3ZpZGVylJOUKYGULg=="
    ),
    "ReplicationBackfillProvider": (
        "gASVPQAAAAAAAACMFnB1bHVtaV9iZXJ0aC5wcm92aWRlcnOUjBtSZXBsaWNhdGlvbkJhY2tmaWxsUHJvdmlkZXKUk5QpgZQu"
    ),
    "ServedCertificateProvider": (
        "gASVOwAAAAAAAACMFnB1bHVtaV9iZXJ0aC5wcm92aWRlcnOUjBlTZXJ2ZWRDZXJ0aWZpY2F0ZVByb3ZpZGVylJOUKYGULg=="
    ),
    "SupervisorProvider": (
        "gASVNAAAAAAAAACMFnB1bHVtaV9iZXJ0aC5wcm92aWRlcnOUjBJTdXBlcnZpc29yUHJvdmlkZXKUk5QpgZQu"
    ),
    "VolumeFilesProvider": (
        "gASVNQAAAAAAAACMFnB1bHVtaV9iZXJ0aC5wcm92aWRlcnOUjBNWb2x1bWVGaWxlc1Byb3ZpZGVylJOUKYGULg=="
    ),
}


@pytest.mark.parametrize("name", sorted(_STORED))
def test_provider_is_stored_by_its_import_path(name: str) -> None:
    provider = getattr(providers, name)()
    assert serialize_provider(provider) == _STORED[name]
    assert base64.b64decode(_STORED[name]).count(b"pulumi_berth.providers") == 1


def test_every_provider_is_in_the_list() -> None:
    classes = {
        name
        for name, value in vars(providers).items()
        if isinstance(value, type)
        and issubclass(value, ResourceProvider)
        and value.__module__ == providers.__name__
        and not name.startswith("_")
    }
    assert classes == set(_STORED)
