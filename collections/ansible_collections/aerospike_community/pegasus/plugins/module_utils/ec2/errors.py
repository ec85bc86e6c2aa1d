"""EC2's errors as classes that tell the user where to look.

Codes: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

CREDENTIALS, QUOTA, CAPACITY, PERMISSION = "credentials", "quota", "capacity", "permission"
CONFIGURATION, ENDPOINT, OTHER = "configuration", "endpoint", "other"
USAGE = "usage"  # what a command names, or needs on this machine, isn't there

_CREDENTIAL_CODES = {
    "AuthFailure",
    "Blocked",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSecurityToken",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "OptInRequired",
    "PendingVerification",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
_CREDENTIAL_EXCEPTIONS = {
    "CredentialRetrievalError",
    "InvalidConfigError",
    "NoAuthTokenError",
    "NoCredentialsError",
    "PartialCredentialsError",
    "ProfileNotFound",
    "SSOError",
    "SSOTokenLoadError",
    "TokenRetrievalError",
    "UnauthorizedSSOTokenError",
}
# EngineUnavailable: the local cloud's own.
_ENDPOINT_CODES = {"InternalError", "InternalFailure", "ServiceUnavailable", "Unavailable", "EngineUnavailable"}
_ENDPOINT_EXCEPTIONS = {
    "ConnectTimeoutError",
    "ConnectionClosedError",
    "ConnectionError",
    "EndpointConnectionError",
    "HTTPClientError",
    "ProxyConnectionError",
    "ReadTimeoutError",
    "ResponseParserError",
    "ResponseStreamingError",
    "SSLError",
}
_CONFIGURATION_EXCEPTIONS = {"InvalidRegionError", "NoRegionError", "ParamValidationError"}

NEXT_STEP = {
    CREDENTIALS: "Check the access key of this account (aws sts get-caller-identity, AWS_PROFILE, or "
    "ec2_provision_access_key and ec2_provision_secret_key) and this machine's clock.",
    QUOTA: "Ask for fewer or smaller instances, free others, or ask AWS for a higher limit (Service Quotas, EC2).",
    CAPACITY: "Try another zone (ec2_provision_zones, ec2_provision_subnet_ids), another instance type or region, or "
    "try again later.",
    PERMISSION: "Ask the account's administrator for this permission; docs/iam-policy.json has all that are needed.",
    CONFIGURATION: "Correct the setting that the message names, then run this again.",
    USAGE: "What exists: ./pegasus-driver status.",
    ENDPOINT: "Check the network and proxy of this machine, and that the endpoint is up; for the local cloud: "
    "pegasus-driver local status, pegasus-driver local start.",
    OTHER: "Run this again with -vvv for details; what was made already is found again by its tags.",
}

NEXT_STEP_OF_CODE = {
    "AuthFailure.ServiceLinkedRoleCreationNotPermitted": "This account never had a spot instance: permit "
    "iam:CreateServiceLinkedRole for spot.amazonaws.com, as docs/iam-policy.json does, or have somebody run, once: "
    "aws iam create-service-linked-role --aws-service-name spot.amazonaws.com. Or empty ec2_provision_spot.",
    "EngineUnavailable": "Start the container engine again (systemctl start docker), then run this again: it goes on "
    "from what exists. Or remove all of it: pegasus-driver local stop.",
    **dict.fromkeys(
        ("RequestLimitExceeded", "Throttling", "ThrottlingException"),
        "This account's calls in this region are too many, those of other tools included. Wait a minute, then run this "
        "again: it goes on from what exists.",
    ),
}


@dataclass
class Ec2Problem(Exception):
    """A failure with its class (one of this module's constants), what was found, and what to do next."""

    error_class: str
    message: str
    next_step: str = ""

    def __post_init__(self) -> None:
        super().__init__(self.message)
        self.next_step = self.next_step or NEXT_STEP[self.error_class]

    def __str__(self) -> str:
        between = "\n" if "\n" in self.message else " "
        return f"{self.message}{between}{self.next_step}"


def joined(problems: Sequence[Ec2Problem]) -> Ec2Problem:
    """Several problems as one: all that was found, all that can be done, and the class nearest to the cause."""
    if len(problems) == 1:
        return problems[0]
    classes = (CREDENTIALS, ENDPOINT, PERMISSION, QUOTA, CAPACITY, OTHER, CONFIGURATION, USAGE)
    worst = min((one.error_class for one in problems), key=classes.index)
    steps = "\n".join(dict.fromkeys(one.next_step for one in problems))
    return Ec2Problem(worst, "\n".join(dict.fromkeys(one.message for one in problems)), steps)


def error_code(error: Exception) -> str:
    """EC2's own code of an error, '' when it isn't one of EC2's."""
    response: dict[str, Any] = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def class_of_code(code: str) -> str:
    """The class of one of EC2's error codes."""
    if code in _CREDENTIAL_CODES:
        return CREDENTIALS
    if code.startswith(("UnauthorizedOperation", "AccessDenied", "AuthFailure.ServiceLinkedRole")):
        return PERMISSION
    if code == "RequestLimitExceeded":
        return OTHER
    if code == "MaxSpotInstanceCountExceeded":
        return QUOTA
    if code.endswith(("LimitExceeded", "CountExceeded", "QuotaExceeded")):
        return QUOTA
    if code.startswith("Insufficient"):
        return CAPACITY
    if code in _ENDPOINT_CODES:
        return ENDPOINT
    if code.startswith(
        ("Invalid", "Missing", "Unsupported", "Idempotent", "VPCIdNotSpecified", "Unknown", "Malformed")
    ):
        return CONFIGURATION
    return OTHER


def explain(error: Exception, doing: str) -> Ec2Problem:
    """Turn an exception of botocore into an Ec2Problem; `doing` says what was tried, as in 'describe instances'."""
    if isinstance(error, Ec2Problem):
        return error
    code = error_code(error)
    if code:
        text = getattr(error, "response", {}).get("Error", {}).get("Message", "")
        said = f"EC2 refused to {doing}: {code}: {text.strip().rstrip('.')}."
        return Ec2Problem(class_of_code(code), said, NEXT_STEP_OF_CODE.get(code, ""))
    kinds = {kind.__name__ for kind in type(error).__mro__}
    known = {
        CREDENTIALS: _CREDENTIAL_EXCEPTIONS,
        CONFIGURATION: _CONFIGURATION_EXCEPTIONS,
        ENDPOINT: _ENDPOINT_EXCEPTIONS,
    }
    error_class = next((one for one, names in known.items() if kinds & names), OTHER)
    said = str(error).strip().rstrip(".") or type(error).__name__
    return Ec2Problem(error_class, f"Could not {doing}: {said}.")
