"""End states of environments: files for another environment of the same shape, the state of its hosts, differences."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import Mapping, Sequence

from benchmarks.common import BenchmarkError, Environment
from pegasus_driver.environment import EnvironmentHost

# Files to compare. Links in /etc/systemd/system enable units.
COMPARED = [
    "/etc/aerospike",
    "/etc/aerospike-prometheus-exporter",
    "/etc/default",
    "/etc/grafana",
    "/etc/logrotate.d",
    "/etc/prometheus",
    "/etc/sysctl.d",
    "/etc/systemd/system",
    "/etc/tmpfiles.d",
    "/opt/perseus/perseus.jar",
    "/usr/lib/pegasus",
    "/var/lib/grafana/plugins",
    "/var/lib/perseus/*.yaml",
]
# Files whose contents have a time.
DATED = ("/etc/systemd/system/pegasus-expiry.", "/opt/perseus/perseus.jar")
STATE = r"""
dpkg-query -W -f 'package ${db:Status-Abbrev} ${Package} ${Version}\n'
systemctl list-units --all --no-legend --plain --type=service,timer 'aerospike*' 'prometheus*' 'perseus*' 'grafana*' \
    'logrotate.timer' | awk '{print "unit " $1 " " $3 "/" $4}'
"""


def keyed(hosts: Sequence[EnvironmentHost]) -> dict[tuple[str, int], EnvironmentHost]:
    """Return hosts by kind and index, which are the same in every environment."""
    return {(host.kind, host.index): host for host in hosts}


def archiving(paths: Sequence[str]) -> str:
    """Return the command that writes the existing files to a tar, with their owners and modes."""
    return f"cd / && tar -cf - $(ls -d {' '.join(paths)} 2>/dev/null)"


def replacements(
    old: Mapping[tuple[str, int], EnvironmentHost], new: Mapping[tuple[str, int], EnvironmentHost]
) -> dict[bytes, bytes]:
    """Map the addresses and instances of an environment to those of another of the same shape."""
    found = {old[key].address: new[key].address for key in old}
    found |= {old[key].instance_id: new[key].instance_id for key in old}
    return {before.encode(): after.encode() for before, after in found.items()}


def readdress(content: bytes, replaced: Mapping[bytes, bytes]) -> bytes:
    """Replace addresses and instances, as complete words and in one pass."""
    pattern = b"|".join(re.escape(word) for word in sorted(replaced, key=len, reverse=True))
    return re.sub(rb"(?<![\w.])(" + pattern + rb")(?![\w]|\.\d)", lambda found: replaced[found[1]], content)


def readdressed_tar(archive: bytes, replaced: Mapping[bytes, bytes]) -> bytes:
    """Return the same files for another environment."""
    target = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(archive)) as source, tarfile.open(fileobj=target, mode="w") as changed:
        for member in source:
            stream = source.extractfile(member) if member.isfile() else None
            content = readdress(stream.read(), replaced) if stream else b""
            member.size = len(content)
            changed.addfile(member, io.BytesIO(content))
    return target.getvalue()


def state(env: Environment) -> dict[tuple[str, int], dict[str, str]]:
    """Return the state of each host: packages, units, files."""
    listings = env.on_all(lambda host: STATE)
    files = env.on_all(lambda host: archiving(COMPARED))
    hosts = keyed(env.hosts())
    names = {host.address.encode(): f"<{kind} {index}>".encode() for (kind, index), host in hosts.items()}
    names |= {host.instance_id.encode(): f"<{kind} {index}>".encode() for (kind, index), host in hosts.items()}
    found = {}
    for key, host in hosts.items():
        lines = (line.rpartition(" ") for line in listings[host.name].decode().splitlines())
        facts = {name: value for name, _, value in lines}
        with tarfile.open(fileobj=io.BytesIO(files[host.name])) as archive:
            for member in archive:
                facts[f"file /{member.name}"] = described(archive, member, names)
        found[key] = facts
    return found


def described(archive: tarfile.TarFile, member: tarfile.TarInfo, names: Mapping[bytes, bytes]) -> str:
    """Return the type, mode, owner and content hash of a file."""
    kind = "folder" if member.isdir() else f"link to {member.linkname}" if member.issym() else "file"
    text = f"{kind} {member.mode:o} {member.uname}:{member.gname}"
    stream = archive.extractfile(member) if member.isfile() else None
    if stream is None or f"/{member.name}".startswith(DATED):
        return text
    return f"{text} {hashlib.sha256(readdress(stream.read(), names)).hexdigest()}"


def compare(pegasus: Mapping[tuple[str, int], Mapping[str, str]], env: Environment) -> None:
    """Compare the end state of the floor with that of Pegasus.

    :raises BenchmarkError: they differ
    """
    differences = differing(pegasus, state(env))
    if differences:
        shown = "\n".join(f"  {line}" for line in differences[:30])
        raise BenchmarkError(f"{len(differences)} differences between the end states:\n{shown}")


def differing(
    pegasus: Mapping[tuple[str, int], Mapping[str, str]], floor: Mapping[tuple[str, int], Mapping[str, str]]
) -> list[str]:
    """Return the differences between two end states, a line each."""
    return [
        f"{kind} {index}: {name}: Pegasus {pegasus[kind, index].get(name, '-')}, floor {facts.get(name, '-')}"
        for (kind, index), facts in sorted(floor.items())
        for name in sorted({*pegasus[kind, index], *facts})
        if pegasus[kind, index].get(name) != facts.get(name)
    ]
