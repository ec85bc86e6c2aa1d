"""The environment's hosts, as EC2 has them: for commands that go to a host without a playbook.

Endpoint, credentials, address and login come from where the playbooks have them: config.yml, the backend's preset,
group_vars/aws_ec2.yml.
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
# As the inventory filters: a terminated instance is nobody's host any more.
STATES = ["pending", "running", "stopping", "stopped"]
# Seconds that EC2 has to connect, and to answer.
PATIENCE = 10.0


@dataclass(frozen=True)
class EnvironmentHost:
    """One instance. address is the one that this machine reaches it at; "" while EC2 hasn't given it one."""

    name: str
    kind: str  # server, client, monitor
    index: int
    address: str
    state: str
    instance_id: str


@dataclass(frozen=True)
class Access:
    """How EC2 and the hosts are reached. Empty strings leave the choice to boto3."""

    root: Path
    backend: str
    environment: str
    region: str
    endpoint_url: str
    access_key: str
    secret_key: str
    public: bool
    user: str
    key_file: str = ""  # "": the one that Pegasus made
    jump: str = ""  # a bastion, user@host:port

    @property
    def private_key(self) -> Path:
        """The private key of the hosts, on this machine."""
        return self.root / Path(self.key_file).expanduser() if self.key_file else self.state_dir / "id_ed25519"

    @property
    def state_dir(self) -> Path:
        """Where this machine keeps the environment's key pair and known hosts (wiring.yml: pegasus_state_dir)."""
        return self.root / ".pegasus" / self.backend / self.region / self.environment

    @property
    def cache(self) -> Path:
        return self.state_dir / "hosts.json"


def access(root: Path, config: Config) -> Access:
    """How this configuration reaches EC2 and the hosts. Raises ConfigurationError for what only Ansible can make."""
    login = _read(root / "group_vars" / "aws_ec2.yml")

    def text(key: str) -> str:
        if key in config.report.unknown:
            raise ConfigurationError(
                f"{key}: found a template that only Ansible can read, which this command runs without",
                "Give a plain value.",
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


def find(access: Access, patience: float = PATIENCE) -> list[EnvironmentHost]:
    """The environment's hosts by kind and index, and a copy of them for shell completion. Raises CloudError."""
    import boto3  # 0.2 s: only when EC2 is asked
    from botocore.config import Config as Settings
    from botocore.exceptions import BotoCoreError, ClientError

    settings = Settings(
        connect_timeout=patience,
        read_timeout=patience,
        retries={"mode": "standard", "total_max_attempts": 1 if patience < 5 else 5},
    )
    try:
        client = boto3.client(
            "ec2",
            region_name=access.region or None,
            endpoint_url=access.endpoint_url or None,
            aws_access_key_id=access.access_key or None,
            aws_secret_access_key=access.secret_key or None,
            config=settings,
        )
        filters: list[Any] = [
            {"Name": "tag:pegasus:environment", "Values": [access.environment]},
            {"Name": "instance-state-name", "Values": STATES},
        ]
        pages = client.get_paginator("describe_instances").paginate(Filters=filters)
        found = [
            _host(instance, access.public)
            for page in pages
            for reservation in page["Reservations"]
            for instance in reservation["Instances"]
        ]
    except (BotoCoreError, ClientError) as error:
        advice = (
            "Build the environment: ./pegasus-driver setup. What exists: ./pegasus-driver status"
            if access.backend == "local"
            else "Check the credentials (AWS_PROFILE, aws sts get-caller-identity), the region and the network."
        )
        raise CloudError(f"EC2 doesn't list the hosts of {access.environment}: {error}", advice) from error
    hosts = sorted((one for one in found if one.kind in KINDS), key=lambda one: (KINDS.index(one.kind), one.index))
    keep(access, hosts)
    return hosts


def keep(access: Access, hosts: Sequence[EnvironmentHost]) -> None:
    """Notes the hosts for shell completion, as long as this machine has the environment's folder."""
    part = access.cache.with_suffix(f".{os.getpid()}")
    with contextlib.suppress(OSError):
        part.write_text(json.dumps([asdict(host) for host in hosts]), encoding="utf-8")
        part.replace(access.cache)


def kept(access: Access) -> tuple[list[EnvironmentHost], float]:
    """What keep() noted, and when (seconds since 1970); ([], 0.0) when there is nothing readable."""
    try:
        at = access.cache.stat().st_mtime
        return [EnvironmentHost(**one) for one in json.loads(access.cache.read_text(encoding="utf-8"))], at
    except (OSError, ValueError, TypeError):
        return [], 0.0


def of_kind(hosts: Sequence[EnvironmentHost], kind: str) -> list[EnvironmentHost]:
    return [host for host in hosts if host.kind == kind]


def pick(hosts: Sequence[EnvironmentHost], kind: str, index: int) -> EnvironmentHost:
    """The host with that kind and index, when it can be reached. Raises UsageError."""
    same = of_kind(hosts, kind)
    for host in same:
        if host.index == index:
            if host.state != "running" or not host.address:
                raise UsageError(
                    f"{host.name} ({host.instance_id}) is {host.state}, expected running",
                    "Bring it back: ./pegasus-driver setup. What exists: ./pegasus-driver status",
                )
            return host
    there = ", ".join(str(host.index) for host in same) or "none"
    raise UsageError(
        f"found no {kind} with index {index}; there {'is' if len(same) == 1 else 'are'}: {there}",
        "What exists: ./pegasus-driver status. Build it: ./pegasus-driver setup",
    )


def ssh_command(access: Access, host: EnvironmentHost, options: Sequence[str] = ()) -> list[str]:
    """The ssh command line for a host, with the environment's own key and known hosts and nothing of the user's.

    The way through a bastion is the user's own: ssh's configuration, keys and known hosts count for that.
    A command to run there may be appended. Options as group_vars/aws_ec2.yml gives them to Ansible.
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
    from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.plan import Instance

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
