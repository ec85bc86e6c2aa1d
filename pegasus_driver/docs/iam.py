"""Generates docs/iam-policy.generated.json: the minimal permissions, from the calls that a test recorded.

tests/aws/test_permissions.py runs everything that calls AWS and compares the file with the calls. With
PEGASUS_WRITE_POLICY=1 it writes the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[2] / "docs" / "iam-policy.generated.json"
TAG = "pegasus:environment"
READ = ("Describe", "Get", "List")
CREATE = ("Create", "Import")
# boto3's name of a service -> IAM's name.
PREFIXES = {"service-quotas": "servicequotas"}
# With an account's first spot instance, EC2 creates a service-linked role in the name of the caller of RunInstances:
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/service-linked-roles-spot-instance-requests.html
SPOT_SERVICE, SPOT_ROLE = "spot.amazonaws.com", "AWSServiceRoleForEC2Spot"
# What RunInstances uses, in addition to the instances and volumes that it creates.
LAUNCHED_FROM = (
    "image", "key-pair", "network-interface", "placement-group", "security-group", "snapshot", "spot-instances-request",
    "subnet",
)  # fmt: skip


def policy(calls: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The policy for calls as (boto3's name of the service, operation).

    A resource must get the environment's tag when it is created, and only resources with the tag can be changed or
    removed.
    """
    actions = sorted({f"{PREFIXES.get(service, service)}:{operation}" for service, operation in calls})
    tagging, launching = "ec2:CreateTags", "ec2:RunInstances"

    def starting_with(*prefixes: str) -> list[str]:
        return [action for action in actions if _operation(action).startswith(prefixes) and action != tagging]

    reading, creating = starting_with(*READ), starting_with(*CREATE)
    changing = [action for action in actions if action not in {*reading, *creating, tagging, launching}]
    tagged_on_create = {"StringLike": {f"aws:RequestTag/{TAG}": "*"}}
    tagged = {"StringLike": {f"aws:ResourceTag/{TAG}": "*"}}
    statements: list[dict[str, Any]] = [
        {"Sid": "Read", "Effect": "Allow", "Action": reading, "Resource": "*"},
        {
            "Sid": "LaunchFrom",
            "Effect": "Allow",
            "Action": [launching],
            "Resource": [f"arn:aws:ec2:*:*:{kind}/*" for kind in LAUNCHED_FROM],
        },
        {
            "Sid": "LaunchTagged",
            "Effect": "Allow",
            "Action": [launching],
            "Resource": ["arn:aws:ec2:*:*:instance/*", "arn:aws:ec2:*:*:volume/*"],
            "Condition": tagged_on_create,
        },
        {
            "Sid": "CreateInVpc",
            "Effect": "Allow",
            "Action": [action for action in creating if action.endswith("SecurityGroup")],
            "Resource": "arn:aws:ec2:*:*:vpc/*",
        },
        {
            "Sid": "CreateTagged",
            "Effect": "Allow",
            "Action": creating,
            "Resource": [f"arn:aws:ec2:*:*:{kind}/*" for kind in ("key-pair", "placement-group", "security-group")],
            "Condition": tagged_on_create,
        },
        {
            "Sid": "TagOnCreate",
            "Effect": "Allow",
            "Action": [tagging],
            "Resource": "*",
            "Condition": {
                "StringEquals": {"ec2:CreateAction": [_operation(action) for action in [*creating, launching]]}
            },
        },
        {
            "Sid": "ChangeOwn",
            "Effect": "Allow",
            "Action": [tagging, *changing],
            "Resource": "*",
            "Condition": tagged,
        },
        {
            "Sid": "FirstSpot",
            "Effect": "Allow",
            "Action": ["iam:CreateServiceLinkedRole"],
            "Resource": f"arn:aws:iam::*:role/aws-service-role/{SPOT_SERVICE}/{SPOT_ROLE}",
            "Condition": {"StringEquals": {"iam:AWSServiceName": SPOT_SERVICE}},
        },
    ]
    return {"Version": "2012-10-17", "Statement": statements}


def _operation(action: str) -> str:
    return action.partition(":")[2]


def text(calls: Iterable[tuple[str, str]]) -> str:
    """The content of the file."""
    return json.dumps(policy(calls), indent=2) + "\n"
