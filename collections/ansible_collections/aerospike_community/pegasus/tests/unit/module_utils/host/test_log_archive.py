"""Logs of hosts: their content, masked secrets, missing hosts."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
import yaml
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host import log_archive
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.log_archive import Archive, masked
from ansible_collections.aerospike_community.pegasus.plugins.modules.logs_archive import join

ROOT = Path(__file__).resolve().parents[8]


@pytest.mark.parametrize(
    "line",
    [
        'admin_password = """HUSH#1;"""',
        "password: HUSH",
        '  "secretKey": "HUSH",',
        "aws_secret_access_key=HUSH and more HUSH",
        "user-password HUSH",
        "  password-file-token HUSH",
        "ExecStart=/usr/bin/tool --api-key=HUSH",
        "level=info auth_token=HUSH",
        "url = https://user:HUSH@example.org/x",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nHUSH\nHUSH\n-----END OPENSSH PRIVATE KEY-----",
    ],
)
def test_secrets_are_masked(line: str) -> None:
    text = masked(f"before\n{line}\nafter\n")
    assert "HUSH" not in text and log_archive.MASK in text
    assert text.startswith("before\n") and text.endswith("\nafter\n")


@pytest.mark.parametrize(
    "line",
    [
        'password: ""',
        "  username: admin",
        "| 12          | 1,234       | 20          | 1,254          |",
        "replication-factor 2",
        "Nov 25 ERROR: authentication failed for user admin",
        "mesh-seed-address-port 172.31.0.4 3002",
        "http://172.31.0.1:8570/download.aerospike.com/x",
    ],
)
def test_values_without_a_secret_stay(line: str) -> None:
    assert masked(f"{line}\n") == f"{line}\n"


def test_an_archive_of_a_host(tmp_path: Path) -> None:
    host = tmp_path / "root"
    (host / "etc/aerospike").mkdir(parents=True)
    (host / "etc/aerospike/aerospike.conf").write_text("service {}\n")
    (host / "etc/aerospike/features.conf").write_text("HUSH\n")
    (host / "etc/aerospike/big.log").write_text("".join(f"line {number}\n" for number in range(1000)))
    path = tmp_path / "a.tar.gz"
    archive = Archive(path, "B-1")
    archive.add_files(["/etc/aerospike/aerospike.conf", "/etc/aerospike/*.log", "/nowhere/*"], 100, host)

    def run(command: list[str]) -> tuple[int, str, str]:
        return (1, "", "no such unit") if "bad" in command else (0, f"{' '.join(command)}\n", "")

    archive.add_commands([("good", ["echo", "x"]), ("bad", ["bad"])], run, 100)
    archive.close()
    with tarfile.open(path) as tar:
        texts = {member.name: tar.extractfile(member).read().decode() for member in tar}
        assert {member.mode for member in tar} == {0o600}
    assert set(texts) == {f"B-1/{name}" for name in ("etc/aerospike/aerospike.conf", "etc/aerospike/big.log", "good",
                                                     "bad")}  # fmt: skip
    big = texts["B-1/etc/aerospike/big.log"].splitlines()
    assert big[0].startswith("[the last 100 of") and big[1].startswith("line ") and big[-1] == "line 999"
    assert "[exit code 1] no such unit" in texts["B-1/bad"] and archive.problems == []


def test_the_collected_files_contain_no_licence_and_no_key() -> None:
    wiring = yaml.safe_load((ROOT / "group_vars/all/wiring.yml").read_text())
    patterns = wiring["pegasus_logs_files"]
    assert "/etc/aerospike/aerospike.conf" in patterns
    for secret in ("etc/aerospike/features.conf", "home/admin/.ssh/authorized_keys", "etc/ssh/ssh_host_rsa_key"):
        assert not [pattern for pattern in patterns if Path(secret).match(pattern.lstrip("/"))]


def test_archives_are_joined_and_a_missing_host_is_reported(tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    parts.mkdir()
    for name in ("B-1", "B-2"):
        archive = Archive(parts / f"{name}.tar.gz", name)
        archive.add("etc/x.conf", f"of {name}")
        archive.close()
    path = tmp_path / "all.tar.gz"
    present, missing = join(parts, path, ["B-1", "B-2", "B-3"], ["B-4 is skipped: its instance is not running"])
    assert (present, missing) == (["B-1", "B-2"], ["B-3"])
    assert path.stat().st_mode & 0o777 == 0o600 and not parts.exists()
    with tarfile.open(path) as tar:
        assert set(tar.getnames()) == {"B-1/etc/x.conf", "B-2/etc/x.conf", "MISSING.txt"}
        note = tar.extractfile("MISSING.txt").read().decode()
    assert note == "B-4 is skipped: its instance is not running\nB-3: unreachable\n"
