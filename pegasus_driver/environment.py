"""The environment's hosts in EC2, for commands that connect to a host without a playbook.

Endpoint, credentials, address and login come from the same files as for the playbooks: config.yml, the backend's
preset, group_vars/aws_ec2.yml.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import CloudError, ConfigurationError, UsageError

if TYPE_CHECKING:
    from .config import Config

KINDS = ("server", "client", "monitor")
# The states that the inventory selects: all but terminated instances.
STATES = ["pending", "running", "stopping", "stopped"]
# Seconds that EC2 has to connect, and to answer.
TIMEOUT = 10.0


@dataclass(frozen=True)
class EnvironmentHost:
    """One instance. This machine reaches it at `address`, "" while EC2 hasn't assigned one."""

    name: str
    kind: str  # server, client, monitor
    index: int
    address: str
    state: str
    instance_id: str


@dataclass(frozen=True)
class Access:
    """How to reach EC2 and the hosts. boto3 chooses the values of empty strings."""

    root: Path
    backend: str
    environment: str
    region: str
    endpoint_url: str
    access_key: str
    secret_key: str
    public: bool
    user: str
    key_file: str = ""  # "": the key that Pegasus generated
    jump: str = ""  # a bastion, user@host:port

    @property
    def private_key(self) -> Path:
        """The file of the hosts' private key on this machine."""
        return self.root / Path(self.key_file).expanduser() if self.key_file else self.state_dir / "id_ed25519"

    @property
    def state_dir(self) -> Path:
        """The folder of the environment's key pair and known hosts (wiring.yml: pegasus_state_dir)."""
        return self.root / ".pegasus" / self.backend / self.region / self.environment

    @property
    def cache(self) -> Path:
        return self.state_dir / "hosts.json"


def access(root: Path, config: Config) -> Access:
    """Return how this configuration reaches EC2 and the hosts.

    :raises ConfigurationError: a value is a template that only Ansible can render
    """
    login = _read(root / "group_vars" / "aws_ec2.yml")

    def text(key: str) -> str:
        if key in config.report.unknown:
            raise ConfigurationError(
                f"{key}: found a template that only Ansible can render, expected a plain value for this command",
                "Set a plain value.",
            )
        return str(config.values.get(key) or "")

    return Access(
        root=root,
        backend=config.backend,
        environment=config.environment,
        region=text("pegasus_region"),
        endpoint_url=text("pegasus_ec2_endpoint_url"),
        access_key=text("pegasus_ec2_access_key"),
        secret_key=text("pegasus_ec2_secret_key"),
        public=text("pegasus_connect_address") == "public",
        user=str(login.get("ansible_user", "admin")),
        key_file=text("ec2_provision_private_key_file"),
        jump=text("pegasus_ssh_jump"),
    )


def find(access: Access, timeout: float = TIMEOUT) -> list[EnvironmentHost]:
    """Query EC2 for the environment's hosts, sorted by kind and index; cache them for shell completion.

    :raises CloudError: EC2 refuses or doesn't answer within `timeout` seconds
    """
    import boto3  # takes 0.2 s
    from botocore.config import Config as Settings
    from botocore.exceptions import BotoCoreError, ClientError

    retries: Any = {"mode": "standard", "total_max_attempts": 1 if timeout < 5 else 5}
    try:
        client = boto3.client(
            "ec2",
            region_name=access.region or None,
            endpoint_url=access.endpoint_url or None,
            aws_access_key_id=access.access_key or None,
            aws_secret_access_key=access.secret_key or None,
            config=Settings(connect_timeout=timeout, read_timeout=timeout, retries=retries),
        )
        filters: list[Any] = [
            {"Name": "tag:pegasus:environment", "Values": [access.environment]},
            {"Name": "instance-state-name", "Values": STATES},
        ]
        pages = client.get_paginator("describe_instances").paginate(Filters=filters)
        reservations = [reservation for page in pages for reservation in page["Reservations"]]
        found = [_host(instance, access.public) for item in reservations for instance in item["Instances"]]
    except (BotoCoreError, ClientError) as error:
        advice = "Check the credentials (AWS_PROFILE, aws sts get-caller-identity), the region and the network."
        if access.backend == "local":
            advice = "Build the environment: ./pegasus-driver setup. Show what exists: ./pegasus-driver status"
        raise CloudError(f"EC2 can't list the hosts of {access.environment}: {error}", advice) from error
    known = [host for host in found if host.kind in KINDS]
    hosts = sorted(known, key=lambda host: (KINDS.index(host.kind), host.index))
    cache_hosts(access, hosts)
    return hosts


def cache_hosts(access: Access, hosts: Sequence[EnvironmentHost]) -> None:
    """Write the cache for shell completion, if this machine has the environment's folder."""
    part = access.cache.with_suffix(f".{os.getpid()}")
    with contextlib.suppress(OSError):
        part.write_text(json.dumps([asdict(host) for host in hosts]), encoding="utf-8")
        part.replace(access.cache)


def cached_hosts(access: Access) -> tuple[list[EnvironmentHost], float]:
    """Return the cached hosts and their time (seconds since 1970); ([], 0.0) without a readable cache."""
    try:
        at = access.cache.stat().st_mtime
        return [EnvironmentHost(**host) for host in json.loads(access.cache.read_text(encoding="utf-8"))], at
    except (OSError, ValueError, TypeError):
        return [], 0.0


def of_kind(hosts: Sequence[EnvironmentHost], kind: str) -> list[EnvironmentHost]:
    return [host for host in hosts if host.kind == kind]


def pick(hosts: Sequence[EnvironmentHost], kind: str, index: int) -> EnvironmentHost:
    """Return the host of that kind and index.

    :raises UsageError: there is no such host, or it isn't running
    """
    candidates = of_kind(hosts, kind)
    host = next((host for host in candidates if host.index == index), None)
    if host is None:
        existing = ", ".join(str(host.index) for host in candidates) or "none"
        raise UsageError(
            f"found no {kind} with index {index}, expected an existing index: {existing}",
            "Show what exists: ./pegasus-driver status. Build the environment: ./pegasus-driver setup",
        )
    if host.state != "running" or not host.address:
        raise UsageError(
            f"{host.name} ({host.instance_id}) is {host.state}, expected running",
            "Start it: ./pegasus-driver setup. Show what exists: ./pegasus-driver status",
        )
    return host


def ssh_command(access: Access, host: EnvironmentHost, options: Sequence[str] = ()) -> list[str]:
    """Return the ssh command line for a host, to which a remote command may be appended.

    ssh uses only the environment's key and known hosts, with the options that group_vars/aws_ec2.yml gives Ansible. A
    bastion is reached with the user's own ssh configuration, keys and known hosts.
    """
    through = ["-o", f"ProxyJump={access.jump}"] if access.jump else ["-F", "none"]
    settings = [
        f'UserKnownHostsFile="{access.state_dir / "known_hosts"}"',
        "StrictHostKeyChecking=accept-new",
        f"HostKeyAlias={host.instance_id}",
        "IdentitiesOnly=yes",
        "PreferredAuthentications=publickey",
        "ConnectTimeout=10",
        *options,
    ]
    flags = [flag for setting in settings for flag in ("-o", setting)]
    return ["ssh", *through, "-i", str(access.private_key), *flags, f"{access.user}@{host.address}"]


def _host(description: Mapping[str, Any], public: bool) -> EnvironmentHost:
    from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.instances import Instance

    instance = Instance.from_description(dict(description))
    return EnvironmentHost(
        name=instance.name or instance.id,
        kind=instance.kind,
        index=instance.index or 0,
        address=instance.public_ip if public else instance.private_ip,
        state=instance.state,
        instance_id=instance.id,
    )


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path} can't be read: {error}", f"Restore it: git checkout {path}") from error
    return values if isinstance(values, dict) else {}
