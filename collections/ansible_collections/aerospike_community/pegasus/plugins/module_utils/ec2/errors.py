# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""EC2's errors as classes that show the user where to look.

Codes: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ..results import CAPACITY, CONFIGURATION, CREDENTIALS, ENDPOINT, OTHER, PERMISSION, QUOTA, USAGE

T = TypeVar("T")

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
# EngineUnavailable: only from the local cloud.
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
    QUOTA: "Use fewer or smaller instances, terminate others, or request a higher limit (Service Quotas, EC2).",
    CAPACITY: "Try another zone (ec2_provision_zones, ec2_provision_subnet_ids), another instance type or region, or "
    "try again later.",
    PERMISSION: "Ask the account's administrator for this permission; docs/iam-policy.generated.json lists every "
    "permission that Pegasus needs.",
    CONFIGURATION: "Correct the setting that the message names, then run this again.",
    USAGE: "./pegasus-driver status shows what exists.",
    ENDPOINT: "Check the network and proxy of this machine, and that the endpoint is up; for the local cloud: "
    "pegasus-driver local status, pegasus-driver local start.",
    OTHER: "Run this again with -vvv for details; it continues where it stopped.",
}

NEXT_STEP_OF_CODE = {
    "AuthFailure.ServiceLinkedRoleCreationNotPermitted": "This account has never had a spot instance: allow "
    "iam:CreateServiceLinkedRole for spot.amazonaws.com, as docs/iam-policy.generated.json does, or have an "
    "administrator run once: aws iam create-service-linked-role --aws-service-name spot.amazonaws.com. Or set "
    "ec2_provision_spot to [].",
    "EngineUnavailable": "Restart the container engine (systemctl start docker), then run this again: it continues "
    "where it stopped. Or remove everything: pegasus-driver local stop.",
    **dict.fromkeys(
        ("RequestLimitExceeded", "Throttling", "ThrottlingException"),
        "This account makes too many calls in this region, including calls of other tools. Wait a minute, then run "
        "this again: it continues where it stopped.",
    ),
}


@dataclass
class Ec2Problem(Exception):
    """A failure: its class (a constant of results.py), what was found, and what to do next."""

    error_class: str
    message: str
    next_step: str = ""
    code: str = ""  # EC2's error code, '' if EC2 didn't return the error

    def __post_init__(self) -> None:
        super().__init__(self.message)
        self.next_step = self.next_step or NEXT_STEP[self.error_class]

    def __str__(self) -> str:
        between = "\n" if "\n" in self.message else " "
        return f"{self.message}{between}{self.next_step}"


class Problems(list[Ec2Problem]):
    """Problems that are collected, so that a user sees all of them at once."""

    def attempt(self, call: Callable[[], T]) -> T | None:
        """Return what the call returns; if it fails, keep the problem and return None."""
        try:
            return call()
        except Ec2Problem as problem:
            self.append(problem)
            return None


def joined(problems: Sequence[Ec2Problem]) -> Ec2Problem:
    """Join several problems: every message, every next step, and the class closest to the cause."""
    if len(problems) == 1:
        return problems[0]
    classes = (CREDENTIALS, ENDPOINT, PERMISSION, QUOTA, CAPACITY, OTHER, CONFIGURATION, USAGE)
    first = min((problem.error_class for problem in problems), key=classes.index)
    steps = "\n".join(dict.fromkeys(problem.next_step for problem in problems))
    return Ec2Problem(first, "\n".join(dict.fromkeys(problem.message for problem in problems)), steps)


def error_code(error: Exception) -> str:
    """Return the EC2 error code of a botocore exception, '' if EC2 didn't return the error."""
    response: dict[str, Any] = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def class_of_code(code: str) -> str:
    """Return the class of an EC2 error code."""
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


def explain(error: Exception, task: str) -> Ec2Problem:
    """Turn a botocore exception into an Ec2Problem; `task` names the attempt, such as 'describe instances'."""
    if isinstance(error, Ec2Problem):
        return error
    code = error_code(error)
    if code:
        text = getattr(error, "response", {}).get("Error", {}).get("Message", "")
        message = f"EC2 refused to {task}: {code}: {text.strip().rstrip('.')}."
        return Ec2Problem(class_of_code(code), message, NEXT_STEP_OF_CODE.get(code, ""), code)
    names = {base.__name__ for base in type(error).__mro__}
    known = {
        CREDENTIALS: _CREDENTIAL_EXCEPTIONS,
        CONFIGURATION: _CONFIGURATION_EXCEPTIONS,
        ENDPOINT: _ENDPOINT_EXCEPTIONS,
    }
    error_class = next((name for name, exceptions in known.items() if exceptions & names), OTHER)
    message = str(error).strip().rstrip(".") or type(error).__name__
    return Ec2Problem(error_class, f"Could not {task}: {message}.")
