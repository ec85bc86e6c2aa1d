"""Makes docs/iam-policy.json: the least that an account has to permit, from the calls that a test recorded.

tests/aws/test_permissions.py runs everything that calls AWS, compares the file with the calls, and writes it anew with
PEGASUS_WRITE_POLICY=1 in its environment.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[2] / "docs" / "iam-policy.json"
TAG = "pegasus:environment"
READING = ("Describe", "Get", "List")
MAKING = ("Create", "Import")
# boto3's name of a service -> IAM's.
PREFIXES = {"service-quotas": "servicequotas"}
# Where an account never had a spot instance, EC2 makes a role for them in the name of the first RunInstances' caller:
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/service-linked-roles-spot-instance-requests.html
SPOT_SERVICE, SPOT_ROLE = "spot.amazonaws.com", "AWSServiceRoleForEC2Spot"
# What RunInstances needs beside the instances and volumes that it makes.
LAUNCHED_FROM = (
    "image", "key-pair", "network-interface", "placement-group", "security-group", "snapshot", "spot-instances-request",
    "subnet",
)  # fmt: skip


def policy(calls: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The policy for calls as (boto3's name of the service, operation).

    What is made has to get the environment's tag as it is made, and only what has it can be changed or taken.
    """
    actions = sorted({f"{PREFIXES.get(service, service)}:{operation}" for service, operation in calls})
    tagging, launching = "ec2:CreateTags", "ec2:RunInstances"

    def of(*beginnings: str) -> list[str]:
        return [one for one in actions if one.partition(":")[2].startswith(beginnings) and one != tagging]

    reading, making = of(*READING), of(*MAKING)
    changing = [one for one in actions if one not in {*reading, *making, tagging, launching}]
    tagged_as_made = {"StringLike": {f"aws:RequestTag/{TAG}": "*"}}
    tagged = {"StringLike": {f"aws:ResourceTag/{TAG}": "*"}}
    statements: list[dict[str, Any]] = [
        {"Sid": "Look", "Effect": "Allow", "Action": reading, "Resource": "*"},
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
            "Condition": tagged_as_made,
        },
        {
            "Sid": "MakeInVpc",
            "Effect": "Allow",
            "Action": [one for one in making if one.endswith("SecurityGroup")],
            "Resource": "arn:aws:ec2:*:*:vpc/*",
        },
        {
            "Sid": "MakeTagged",
            "Effect": "Allow",
            "Action": making,
            "Resource": [f"arn:aws:ec2:*:*:{kind}/*" for kind in ("key-pair", "placement-group", "security-group")],
            "Condition": tagged_as_made,
        },
        {
            "Sid": "TagAsMade",
            "Effect": "Allow",
            "Action": [tagging],
            "Resource": "*",
            "Condition": {
                "StringEquals": {"ec2:CreateAction": [one.partition(":")[2] for one in [*making, launching]]}
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


def text(calls: Iterable[tuple[str, str]]) -> str:
    """The file's content."""
    return json.dumps(policy(calls), indent=2) + "\n"
