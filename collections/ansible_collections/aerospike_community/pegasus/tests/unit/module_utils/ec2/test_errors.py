"""The classes of EC2's errors."""

from __future__ import annotations

import botocore.exceptions as boto_errors
import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.errors import explain


def refusal(code):
    return boto_errors.ClientError({"Error": {"Code": code, "Message": "from the test."}}, "RunInstances")


@pytest.mark.parametrize(
    ("error", "error_class"),
    [
        (refusal("AuthFailure"), "credentials"),
        (refusal("ExpiredToken"), "credentials"),
        (refusal("ExpiredTokenException"), "credentials"),  # Systems Manager, Service Quotas
        (refusal("InvalidSignatureException"), "credentials"),
        (refusal("MissingAuthenticationToken"), "credentials"),
        (refusal("InvalidClientTokenId"), "credentials"),
        (refusal("UnauthorizedOperation"), "permission"),
        (refusal("AccessDeniedException"), "permission"),
        (refusal("AuthFailure.ServiceLinkedRoleCreationNotPermitted"), "permission"),
        (refusal("VcpuLimitExceeded"), "quota"),
        (refusal("InstanceLimitExceeded"), "quota"),
        (refusal("MaxSpotInstanceCountExceeded"), "quota"),
        (refusal("RequestLimitExceeded"), "other"),
        (refusal("InsufficientInstanceCapacity"), "capacity"),
        (refusal("InsufficientFreeAddressesInSubnet"), "capacity"),
        (refusal("InvalidInstanceType"), "configuration"),
        (refusal("Unsupported"), "configuration"),
        (refusal("InternalError"), "endpoint"),
        (refusal("Surprise"), "other"),
        (boto_errors.NoCredentialsError(), "credentials"),
        (boto_errors.ProfileNotFound(profile="x"), "credentials"),
        (boto_errors.NoRegionError(), "configuration"),
        (boto_errors.EndpointConnectionError(endpoint_url="http://x"), "endpoint"),
        (boto_errors.ConnectTimeoutError(endpoint_url="http://x"), "endpoint"),
        (boto_errors.ReadTimeoutError(endpoint_url="http://x"), "endpoint"),
        (RuntimeError("odd"), "other"),
    ],
)
def test_error_classes(error, error_class):
    problem = explain(error, "launch it")
    assert problem.error_class == error_class
    assert "launch it" in problem.message
    assert problem.next_step
