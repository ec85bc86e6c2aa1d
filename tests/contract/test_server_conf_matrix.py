"""The configurations that Pegasus writes, read with the strictness of each server release that it supports."""

import itertools
import resource
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike import changes as conf_changes
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.conf import build, render
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.settings import (
    ConfError,
    Settings,
    configuration_problems,
    release_of,
)
from asd_simulated.config.checks import check_config
from asd_simulated.config.dynamic import dynamic
from asd_simulated.config.model import Config
from asd_simulated.config.options import OPTIONS, find
from asd_simulated.config.parser import load_config
from asd_simulated.release import Release
from hypothesis import given
from hypothesis import strategies as st

GIB = 1024**3
VERSIONS = ("6.4.0.34", "7.0.0.26", "7.1.0.23", "7.2.0.17", "8.0.0.15", "8.1.0.3")
EDITIONS = ("enterprise", "community")
STORAGES = list(itertools.product(("memory", "disk"), repeat=3))
HOST: dict[str, Any] = {
    "cluster_name": "Benchmark",
    "namespace": "Test",
    "proto_fd_max": 1024,
    "seeds": ["10.0.0.11", "10.0.0.12"],
    "memory_bytes": 16 * GIB,
    "data_devices": ["/dev/d1", "/dev/d2"],
    "primary_index_mounts": [{"path": "/mnt/a", "size_bytes": 10 * GIB}],
    "secondary_index_mounts": [{"path": "/mnt/b", "size_bytes": 10 * GIB}],
}


def read(text: str, release: Release, folder: Path) -> Config:
    """Parse a configuration as the simulated server of a release does.

    :raises ConfigError: the server refuses it
    """
    (folder / "smd").mkdir(exist_ok=True)
    path = folder / "aerospike.conf"
    # The package creates the server's folders; here they are in `folder`.
    own = text.replace("service {", f"service {{\n    work-directory {folder}", 1)
    path.write_text(f"{own}\nmod-lua {{\n    user-path {folder}\n}}\n")
    config = load_config(path, release)
    check_config(config, release)
    return config


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("edition", EDITIONS)
@pytest.mark.parametrize(("primary", "secondary", "data"), STORAGES)
@pytest.mark.parametrize("compression", ["none", "zstd"])
@pytest.mark.parametrize("rack_id", [0, 2])
def test_the_server_accepts_every_legal_combination_and_pegasus_refuses_every_other(
    version: str,
    edition: str,
    primary: str,
    secondary: str,
    data: str,
    compression: str,
    rack_id: int,
    tmp_path: Path,
) -> None:
    settings = Settings.read(
        {
            **HOST,
            "version": version,
            "edition": edition,
            "primary_index_storage": primary,
            "secondary_index_storage": secondary,
            "data_storage": data,
            "compression": compression,
            "rack_id": rack_id,
            "default_ttl": 3600,
            "features_file": "/etc/aerospike/features.conf",
        }
    )
    flash = "disk" in (primary, secondary)
    legal = not (flash and data == "memory")
    legal &= edition == "enterprise" or not (flash or compression != "none" or rack_id)
    legal &= not (version.startswith("6.4") and data == "memory" and compression != "none")
    if not legal:
        assert configuration_problems(settings)
        with pytest.raises(ConfError):
            build(settings)
        return
    config = read(render(build(settings)), Release(version, edition), tmp_path)
    (namespace,) = config.namespaces
    assert namespace.engine == ("device" if data == "disk" else "memory")
    assert namespace.devices == (["/dev/d1", "/dev/d2"] if data == "disk" else [])
    assert namespace.storage.get("compression") == (None if compression == "none" else compression)
    assert namespace.values.get("rack-id", 0) == rack_id
    assert (namespace.default_ttl, namespace.nsup_period) == (3600, 120)
    assert ("feature-key-file" in config.service) == (edition == "enterprise")
    assert config.warnings == []
    assert ("index-type" in namespace.index_types, "sindex-type" in namespace.index_types) == (
        primary == "disk",
        secondary == "disk",
    )


# Mostly legal values: a case with an illegal value proves nothing here.
names = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=";:,\"'{}#"), min_size=1, max_size=32
)
SPACE = ("memory", "disk")


@given(
    values=st.fixed_dictionaries(
        {
            "version": st.sampled_from(VERSIONS),
            "edition": st.sampled_from(EDITIONS),
            "cluster_name": names,
            "namespace": names,
            "replication_factor": st.integers(1, 9),
            "default_ttl": st.integers(0, 400_000_000),
            "nsup_period": st.integers(0, 2**33),
            "compression": st.sampled_from(["none", "none", "lz4", "zstd"]),
            "partition_tree_sprigs": st.integers(8, 28).map(lambda exponent: 2**exponent),
            "primary_index_storage": st.sampled_from(["memory", "memory", "disk"]),
            "secondary_index_storage": st.sampled_from(["memory", "memory", "disk"]),
            "data_storage": st.sampled_from(SPACE),
            "data_size": st.sampled_from(["", "256M", "512M", "4G", "257T"]),
            "memory_percent": st.integers(1, 95),
            "memory_bytes": st.integers(256 * 1024**2, 2**42),
            "rack_id": st.sampled_from([0, 0, 0, 1, 1_000_000, 1_000_001]),
            "heartbeat_interval_ms": st.sampled_from([49, 50, 100, 150, 1000, 600_000, 600_001]),
            "heartbeat_timeout": st.sampled_from([2, 3, 5, 10, 30, 1000]),
            "proto_fd_max": st.sampled_from([1000, 1023, 1024, 15000]),
        }
    )
)
def test_the_server_accepts_what_the_rules_accept(
    values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    settings = Settings.read({**HOST, **values})
    if configuration_problems(settings):
        return
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit != resource.RLIM_INFINITY and settings.proto_fd_max > limit:
        return  # the limit of this machine; on a host the unit raises it
    read(render(build(settings)), Release(settings.version, settings.edition), tmp_path_factory.mktemp("conf"))


@pytest.mark.parametrize("version", VERSIONS)
def test_parameters_applied_without_a_restart_are_dynamic_in_the_release(version: str) -> None:
    numbers = tuple(int(part) for part in version.split("."))
    ours = conf_changes._dynamic(release_of(version))
    theirs = dynamic(numbers)
    for context, found in ours.items():
        names = {name.partition(".")[2] if name in conf_changes.FLAT_BEFORE_7 else name for name in found}
        assert names - theirs[context] == set(), context
    left_out = {"cluster-name", "replication-factor", "rack-id"}
    assert theirs["service"] - ours["service"] <= left_out | {"downgrading"}
    unprefixed = {name.partition(".")[2] for name in conf_changes.FLAT_BEFORE_7}
    missing = theirs["namespace"] - ours["namespace"] - left_out - unprefixed
    # No parameter of a configuration is left out: these exist only as commands.
    assert missing <= {"force-long-queries", "check-single-bin", "convert-single-bin"}


def test_each_release_has_one_meaning_for_a_name() -> None:
    for version in VERSIONS:
        numbers = tuple(int(part) for part in version.split("."))
        for context, names_there in OPTIONS.items():
            for name, options in names_there.items():
                assert sum(option.known_in(numbers) for option in options) <= 1, (version, context, name)
    assert find("namespace", "memory-size", (6, 4)).kind == "u64"  # type: ignore[union-attr]
    assert find("namespace", "memory-size", (7, 1)).kind == "obsolete"  # type: ignore[union-attr]
    assert find("namespace", "mrt-duration", (7, 2)) is None
    assert find("namespace", "mrt-duration", (8, 0)) is not None
