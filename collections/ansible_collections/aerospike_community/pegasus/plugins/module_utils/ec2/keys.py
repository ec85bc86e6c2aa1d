# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""The environment's ssh key pair: a file on this machine, a name in EC2."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from .api import Ec2, Found
from .errors import CONFIGURATION, USAGE, Ec2Problem
from .instances import Instance
from .spec import Spec

# A valid key for the dry run of the import, before the private key file exists.
SAMPLE_PUBLIC_KEY = b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJqlBkCzjyzMvWEMHZcHvPyFeTsE0fOCyvA3oGWFbUEV dry-run"


def _ssh_keygen(arguments: list[str], task: str, next_step: str) -> str:
    try:
        done = subprocess.run(
            ["ssh-keygen", *arguments], capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError:
        raise Ec2Problem(
            USAGE, f"Could not {task}: this machine has no ssh-keygen.", "Install the OpenSSH client."
        ) from None
    except subprocess.TimeoutExpired:
        raise Ec2Problem(USAGE, f"Could not {task}: ssh-keygen did not finish within 30 s.", next_step) from None
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        raise Ec2Problem(USAGE, f"Could not {task}: ssh-keygen failed: {lines[-1]}.", next_step)
    return done.stdout


def create_key(path: Path, comment: str) -> None:
    """Create an ed25519 key pair without a passphrase: `path` (0600) and `path`.pub in a folder with mode 0700."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # A public key without its private key is useless, and ssh-keygen overwrites it anyway.
        path.with_name(f"{path.name}.pub").unlink(missing_ok=True)
    except OSError as error:
        raise Ec2Problem(USAGE, f"Could not create the folder {path.parent}: {error}.") from error
    _ssh_keygen(
        ["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)],
        f"create the key pair {path}",
        f"Check that {path.parent} is writable.",
    )


def public_key_of(path: Path) -> str:
    """The public key of the private key file `path`, as 'type base64', without a comment."""
    try:
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
    except OSError as error:
        raise Ec2Problem(USAGE, f"Could not read the private key {path}: {error}.") from error
    # -P: a key with a passphrase fails at once instead of prompting.
    text = _ssh_keygen(
        ["-y", "-P", "", "-f", str(path)],
        f"read the private key {path}",
        "Expected an OpenSSH key without a passphrase that this user can read. Put the right file there, or "
        "destroy the environment and remove the file.",
    )
    return normalize_key(text)


def normalize_key(text: str) -> str:
    """A public key without its comment, to compare keys."""
    return " ".join(text.split()[:2])


def needs_import(ec2: Ec2, spec: Spec, found: Found, live: list[Instance]) -> bool:
    """Whether EC2 lacks the environment's key pair.

    :raises Ec2Problem: the private key on this machine doesn't open the instances that exist
    """
    if spec.key_name:
        _check_given_key(ec2, spec, live)
        return False
    path = spec.private_key_file
    if not found.keys:
        if live and not path.is_file():
            raise Ec2Problem(
                CONFIGURATION,
                f"{spec.environment} has {len(live)} nodes, but neither a key pair in EC2 nor the private key {path}.",
                f"Copy the private key to {path} from the machine that created it, or destroy the environment.",
            )
        return True
    key = found.keys[0]
    created = str(key.get("CreateTime") or "at an unknown time")[:19]
    pair = f"EC2 has the key pair {key['KeyName']} (created {created})"
    expected = normalize_key(key.get("PublicKey") or "")
    next_step = (
        f"Copy the private key of '{expected}' to {path}, mode 0600, from the machine that created the environment "
        "(it is in the file of the same name there), or destroy the environment."
    )
    if not path.is_file():
        raise Ec2Problem(
            CONFIGURATION, f"{pair}, but its private key isn't on this machine: {path} does not exist.", next_step
        )
    own = public_key_of(path)
    if own != expected:
        raise Ec2Problem(CONFIGURATION, f"{pair}, but {path} is another key: its public key is '{own}'.", next_step)
    return False


def _check_given_key(ec2: Ec2, spec: Spec, live: list[Instance]) -> None:
    """Check that EC2 has the user's key pair, this machine has its private key, and the live instances use it."""
    name, path = spec.key_name, spec.private_key_file
    keys = ec2.call(
        "describe_key_pairs",
        f"find the key pair {name}",
        Filters=[{"Name": "key-name", "Values": [name]}],
        IncludePublicKey=True,
    )["KeyPairs"]
    if not keys:
        raise Ec2Problem(
            CONFIGURATION,
            f"ec2_provision_key_name is {name!r}; {ec2.region} has no such key pair.",
            "Set ec2_provision_key_name to a key pair in EC2 (aws ec2 describe-key-pairs), or leave it empty: then "
            "Pegasus creates one.",
        )
    if not path.is_file():
        raise Ec2Problem(
            CONFIGURATION,
            f"The private key of {name} isn't on this machine: {path} does not exist.",
            "Set ec2_provision_private_key_file to its path.",
        )
    own, expected = public_key_of(path), normalize_key(keys[0].get("PublicKey") or "")
    if own != expected:
        raise Ec2Problem(
            CONFIGURATION,
            f"{path} isn't the private key of the key pair {name}: its public key is '{own}', EC2 has '{expected}'.",
            "Set ec2_provision_private_key_file to the file that belongs to ec2_provision_key_name.",
        )
    others = [instance for instance in live if instance.key_name != name]
    if others:
        raise Ec2Problem(
            CONFIGURATION,
            f"{', '.join(instance.label for instance in others)} were launched with the key pair "
            f"{others[0].key_name!r}, expected {name!r}. The key of an instance can't be changed.",
            "Restore the old value of ec2_provision_key_name, or destroy the environment first.",
        )


def key_request(spec: Spec, public_key: bytes) -> dict[str, Any]:
    """The parameters of ImportKeyPair."""
    return {
        "KeyName": spec.resource_name,
        "PublicKeyMaterial": public_key,
        "TagSpecifications": spec.tag_specifications("key-pair"),
    }


def import_key(ec2: Ec2, spec: Spec) -> None:
    """Import the key pair into EC2; create the private key file if it is missing."""
    if not spec.private_key_file.is_file():
        create_key(spec.private_key_file, spec.resource_name)
    ec2.create(
        "import_key_pair",
        f"key pair named {spec.resource_name}",
        "InvalidKeyPair.Duplicate",
        **key_request(spec, public_key_of(spec.private_key_file).encode()),
    )
