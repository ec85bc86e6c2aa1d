"""aerospike.conf: what the simulated server refuses, and its messages."""

import re
from pathlib import Path

import pytest
from asd_simulated.best_practices import check, failed
from asd_simulated.config.checks import check_config
from asd_simulated.config.model import Config, ConfigError
from asd_simulated.config.parser import load_config
from asd_simulated.log import Log
from asd_simulated.release import Release

ENTERPRISE, COMMUNITY = Release("8.0.0.4", "enterprise"), Release("8.0.0.4", "community")
NEWER, NEWER_COMMUNITY = Release("8.1.0.3", "enterprise"), Release("8.1.0.3", "community")

SERVICE = "service {\n  cluster-name c\n  proto-fd-max 1024\n  work-directory WORK\n}\n"
MOD_LUA = "mod-lua {\n  user-path WORK\n}\n"
NETWORK = """network {
  service {
    address any
    port 3000
  }
  heartbeat {
    mode mesh
    port 3002
    mesh-seed-address-port 10.0.0.1 3002
    mesh-seed-address-port 10.0.0.2 3002
  }
  fabric {
    port 3001
  }
}
"""
MEMORY = "storage-engine memory {\n data-size 1G\n}\n"


def namespace(lines: str = MEMORY, name: str = "Test") -> str:
    return f"namespace {name} {{\n{lines}\n}}\n"


def full(extra: str = "", space: str = "", service: str = SERVICE, network: str = NETWORK) -> str:
    return service + network + (space or namespace()) + MOD_LUA + extra


@pytest.fixture
def parse(tmp_path: Path):
    def run(text: str, release: Release = ENTERPRISE) -> Config:
        (tmp_path / "smd").mkdir(exist_ok=True)
        path = tmp_path / "aerospike.conf"
        path.write_text(text.replace("WORK", str(tmp_path)))
        config = load_config(path, release)
        check_config(config, release)
        return config

    return run


@pytest.fixture
def refused(parse):
    def run(text: str, release: Release = ENTERPRISE) -> str:
        with pytest.raises(ConfigError) as error:
            parse(text, release)
        assert re.fullmatch(r"\w+\.c:\d+", error.value.where)
        return str(error.value)

    return run


def device(lines: str = "") -> str:
    return f"storage-engine device {{\n device /dev/a\n{lines}\n}}\n"


def test_a_full_configuration(parse):
    config = parse(
        full(
            space=namespace(
                "replication-factor 3 # copies\ndefault-ttl 2d\nnsup-period 120\npartition-tree-sprigs 1K\n"
                "index-type flash {\nmount /mnt/a\nmount /mnt/b\nmounts-budget 8G\n}\n"
                + device("device /dev/b\ncompression lz4\nflush-size 128K\n")
            )
        )
    )
    test = config.namespaces[0]
    assert test.replication_factor == 3
    assert test.default_ttl == 172800
    assert test.values["partition-tree-sprigs"] == 1024
    assert test.devices == ["/dev/a", "/dev/b"]
    assert test.mounts["index-type"]["mount"] == ["/mnt/a", "/mnt/b"]
    assert config.seeds == [("10.0.0.1", 3002), ("10.0.0.2", 3002)]
    assert (config.interval_ms, config.timeout_intervals) == (150, 10)


@pytest.mark.parametrize(
    "place",
    [
        "service {\n  xyz 1\n}\n",
        "xyz 1\n",
        namespace(MEMORY + "xyz 1\n"),
        namespace("storage-engine memory {\n xyz 1\n}\n"),
        "network {\n xyz {\n}\n}\n",
        "network {\n heartbeat {\n xyz 1\n}\n}\n",
        "logging {\n console {\n xyz 1\n}\n}\n",
    ],
)
def test_unknown_names_at_every_level(refused, place):
    line = place.split("xyz")[0].count("\n") + 1
    assert refused(place) == f"line {line} :: unknown config parameter name 'xyz'"


@pytest.mark.parametrize(
    "text",
    [
        namespace("rack-id 0\n" + MEMORY),
        namespace("strong-consistency false\n" + MEMORY),
        namespace("storage-engine memory {\n compression none\n}\n"),
        namespace("index-type shmem\n" + MEMORY),
        namespace("sindex-type flash {\n}\n"),
        "service {\n feature-key-file /x\n}\n",
        "security {\n}\n",
        "xdr {\n}\n",
        "network {\n tls x {\n}\n}\n",
        "network {\n service {\n tls-port 4333\n}\n}\n",
    ],
)
def test_the_community_edition_refuses_enterprise_parameters_with_any_value(refused, text):
    assert re.fullmatch(r"line \d+ :: '[\w-]+' is enterprise-only", refused(text, COMMUNITY))


def test_features_file_and_shmem_are_valid_in_enterprise(parse):
    parse(
        full(
            space=namespace("index-type shmem\nrack-id 0\n" + MEMORY),
            service=SERVICE.replace("}", "feature-key-file /etc/aerospike/features.conf\n}"),
        )
    )


def test_shmem_opens_no_context(refused):
    text = full(space=namespace("index-type shmem {\n}\n" + MEMORY))
    assert "must configure 'storage-engine'" in refused(text)


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ("partition-tree-sprigs 257", "partition-tree-sprigs must be an exact power of 2, not 257"),
        ("partition-tree-sprigs 128", "partition-tree-sprigs must be >= 256 and <= 268435456, not 128"),
        ("replication-factor 0", "replication-factor must be >= 1"),
        ("replication-factor two", "replication-factor must be an unsigned number, not two"),
        ("replication-factor -1", "replication-factor must be an unsigned number, not -1"),
        ("replication-factor", "replication-factor must specify an unsigned integer value"),
        ("disable-write-dup-res yes", "disable-write-dup-res must be true or false or yes or no, not yes"),
        (
            "default-ttl 11y",
            "default-ttl must be a small enough unsigned number with time unit (s, m, h, or d), not 11y",
        ),
        ("default-ttl 4000d", "default-ttl must be <= 315360000 seconds, not 345600000 seconds"),
        ("memory-size 4G", "'memory-size' is obsolete - please use 'stop-writes-sys-memory-pct'"),
        ("high-water-disk-pct 50", "'high-water-disk-pct' is obsolete"),
        ("conflict-resolution-policy newest", "conflict-resolution-policy has unknown value 'newest'"),
        ("storage-engine ssd {", "storage-engine has unknown value 'ssd'"),
        ("set " + "s" * 64 + " {", "set must be < 64 characters long"),
    ],
)
def test_bad_values_in_a_namespace(refused, lines, text):
    assert f"line 2 :: {text}" in refused(namespace(lines + "\n" + MEMORY))


@pytest.mark.parametrize(
    ("value", "release", "good"),
    [
        ("255M", ENTERPRISE, False),
        ("256M", ENTERPRISE, True),
        ("511M", NEWER, False),
        ("512M", NEWER, True),
        ("4Gi", ENTERPRISE, False),
        ("4GB", ENTERPRISE, False),
        ("4g", ENTERPRISE, True),
        ("1.5G", ENTERPRISE, False),
    ],
)
def test_data_size(parse, refused, value, release, good):
    text = full(space=namespace(f"storage-engine memory {{\n data-size {value}\n}}\n"))
    if good:
        parse(text, release)
    else:
        assert "data-size must be" in refused(text, release)


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ("", "{Test} must configure 'storage-engine'"),
        ("default-ttl 10\n" + MEMORY, "{Test} must configure non-zero 'nsup-period'"),
        (MEMORY * 2, "{Test} can only configure one 'storage-engine'"),
        ("storage-engine memory {\n}\n", "{Test} must configure 'data-size'"),
        ("storage-engine device {\n}\n", "{Test} has no devices or files"),
        ("storage-engine device {\n file /a\n}\n", "{Test} must configure 'filesize'"),
        ("storage-engine device {\n file /a\n device /b\n}\n", "{Test} mixture of storage files and devices"),
        (device("device /dev/a"), "{Test} duplicate storage device /dev/a"),
        (device("compression-level 3"), "{Test} 'compression-level' is only relevant for 'compression zstd'"),
        (device("flush-size 3000"), "flush-size must be >= 4096"),
        ("index-type flash {\n mount /a\n}\n" + device(), "{Test} must configure 'mounts-budget'"),
        ("sindex-type flash {\n mount /a\n}\n" + device(), "{Test} must configure sindex 'mounts-budget'"),
        ("index-type flash {\n mounts-size-limit 8G\n}\n", "'mounts-size-limit' is obsolete"),
        (
            "index-type flash {\n mount /a\n mounts-budget 8G\n}\n" + MEMORY,
            "can only be used with 'storage-engine device'",
        ),
    ],
)
def test_rules_across_a_namespaces_parameters(refused, lines, text):
    assert text in refused(namespace(lines))


def test_names_and_numbers_of_namespaces(parse, refused):
    parse(full(space=namespace(name="n" * 31)))
    assert "namespace name too long (max length is 31)" in refused(namespace(name="n" * 32))
    assert "duplicate namespace" in refused(namespace() * 2)
    three = "".join(namespace(name=name) for name in "abc")
    parse(full(space=three))
    assert refused(three, COMMUNITY) == "too many namespaces (max is 2)"


def test_replication_factor_by_edition(parse, refused):
    parse(full(space=namespace("replication-factor 9\n" + MEMORY)))
    parse(full(space=namespace("replication-factor 8\n" + MEMORY)), COMMUNITY)
    assert "must be >= 1 and <= 8, not 9" in refused(namespace("replication-factor 9\n" + MEMORY), COMMUNITY)


def test_heartbeat_rules(parse, refused):
    def network(lines: str) -> str:
        return NETWORK.replace("    mode mesh\n", f"    mode mesh\n{lines}\n")

    assert refused(network("connect-timeout-ms 501")) == "'connect-timeout-ms' must be <= 'interval' * 'timeout' / 3"
    parse(full(network=network("connect-timeout-ms 500")))
    assert "interval must be >= 50" in refused(network("interval 40"))
    assert "timeout must be >= 3" in refused(network("timeout 2"))
    assert "mode has unknown value 'ring'" in refused(NETWORK.replace("mode mesh", "mode ring"))
    assert "must be >= 1024 and <= 65535, not 80" in refused(NETWORK.replace("port 3002", "port 80"))


def test_syntax(parse, refused):
    assert refused(full() + namespace("set x {}\n" + MEMORY, "b")).startswith("line ")  # the set is never closed
    assert refused("service {\n") == "parsing - final context missing '}'?"
    assert "unknown config parameter name '}'" in refused("}\n")
    parse(full(service=SERVICE.replace("}", "ticker-interval 5 and what follows\nticker-interval 6\n}")))
    long_line = "# " + "x" * 1100
    assert "unknown config parameter name 'xxx" in refused(SERVICE.replace("}", f"{long_line}\n}}"))
    parse(full(service=SERVICE.replace("}", "# " + "x" * 1000 + "\n}")))


def test_checks_once_the_log_is_open(refused):
    assert refused(full(service=SERVICE.replace("  cluster-name c\n", ""))) == "must configure 'cluster-name'"
    assert refused(SERVICE + NETWORK + MOD_LUA) == "must configure at least one namespace"
    assert "system file descriptors not enough, config specified 2000000" in refused(
        full(service=SERVICE.replace("1024", "2000000"))
    )
    assert "work directory '/nowhere' is not set up properly" in refused(
        full(service=SERVICE.replace("WORK", "/nowhere"))
    )
    assert refused(full(network=NETWORK.replace("port 3001", "send-threads 8"))) == "no fabric ports configured"


def test_release_8_1(parse, refused):
    admin = NETWORK.replace("  fabric {", "  admin {\n    port 3008\n  }\n  fabric {")
    assert "unknown config parameter name 'admin'" in refused(full(network=admin), ENTERPRISE)
    assert parse(full(network=admin), NEWER).warnings == []
    assert ("admin-port", "admin section is not configured") in failed(parse(full(), NEWER), NEWER)
    assert "admin-port" not in dict(failed(parse(full(network=admin), NEWER), NEWER))
    info = NETWORK.replace("  fabric {", "  info {\n    port 3003\n  }\n  fabric {")
    parse(full(network=info), ENTERPRISE)
    assert "unknown config parameter name 'port'" in refused(full(network=info), NEWER_COMMUNITY)
    empty = NETWORK.replace("  fabric {", "  info {\n  }\n  fabric {")
    assert "info service is obsolete - ignoring" in parse(full(network=empty), NEWER).warnings


def test_best_practices_are_read_from_the_host(parse, tmp_path: Path):
    def host(**values: str) -> list[str]:
        for name, value in values.items():
            path = tmp_path / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(value)
        return [name for name, _ in failed(parse(full()), ENTERPRISE, tmp_path)]

    good = {
        "proc__sys__vm__max_map_count": "262144\n",
        "proc__sys__vm__min_free_kbytes": "1150976\n",
        "proc__sys__vm__swappiness": "0\n",
        "proc__sys__vm__zone_reclaim_mode": "0\n",
        "proc__sys__net__core__somaxconn": "4096\n",
        "sys__kernel__mm__transparent_hugepage__enabled": "always madvise [never]\n",
        "sys__kernel__mm__transparent_hugepage__defrag": "always defer [madvise] never\n",
    }
    assert host(**good) == []
    assert host(proc__sys__vm__min_free_kbytes="1126400") == ["min-free-kbytes"]
    assert host(proc__sys__vm__swappiness="60") == ["min-free-kbytes", "swappiness"]
    bad = {
        "sys__kernel__mm__transparent_hugepage__enabled": "[always] madvise never",
        "sys__kernel__mm__transparent_hugepage__defrag": "[always] madvise never",
        "proc__sys__net__core__somaxconn": "128",
    }
    assert host(**bad) == ["min-free-kbytes", "swappiness", "somaxconn", "thp-enabled", "thp-defrag"]


def test_best_practices_can_be_enforced(parse, monkeypatch):
    monkeypatch.setattr("asd_simulated.best_practices.failed", lambda *_: [("swappiness", "swappiness not set to 0")])
    config = parse(full())
    check(config, ENTERPRISE, Log())
    assert config.bad_practices == ["swappiness"]
    config = parse(full(service=SERVICE.replace("cluster-name c", "cluster-name c\n  enforce-best-practices true")))
    with pytest.raises(ConfigError, match="failed best-practices checks"):
        check(config, ENTERPRISE, Log())
