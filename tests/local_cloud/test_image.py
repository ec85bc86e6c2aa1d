"""The image's tag and its sources; with an engine, that it boots as in molecule."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from local_cloud import LocalCloudError, image
from local_cloud import cloud as local_cloud


def test_the_tag_depends_on_the_files(tmp_path):
    shutil.copytree(image.CONTEXT, tmp_path / "c")
    before = image.tag(tmp_path / "c")
    assert before == image.tag()
    (tmp_path / "c/Dockerfile").write_text("FROM scratch\n")
    changed = image.tag(tmp_path / "c")
    assert changed != before
    script = tmp_path / "c/files/usr/local/lib/pegasus/run-user-data"
    script.chmod(0o644)
    assert image.tag(tmp_path / "c") not in (before, changed)


def test_the_scripts_are_executable():
    for name in ("usr/local/lib/pegasus/run-user-data", "usr/lib/systemd/system-shutdown/pegasus"):
        assert (image.CONTEXT / "files" / name).stat().st_mode & 0o111 == 0o111


def test_the_machines_debian_mirror_is_found(tmp_path):
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(
        "# deb http://old.example/debian x main\ndeb http://ubuntu.example/ubuntu noble main\n"
    )
    assert image._host_mirror("debian", tmp_path) == ""
    (tmp_path / "sources.list.d/debian.sources").write_text(
        "Types: deb\nURIs: http://near.example/debian/\nSuites: bookworm\n\nTypes: deb\nURIs: http://near.example/debian-security\n"
    )
    assert image._host_mirror("debian", tmp_path) == "http://near.example/debian"
    assert image._host_mirror("debian-security", tmp_path) == "http://near.example/debian-security"


def test_a_failing_command_is_reported_with_its_last_lines(tmp_path):
    with (
        pytest.raises(LocalCloudError, match="no such suite"),
        image._output_of(["sh", "-c", "echo no such suite >&2; exit 1"], {"PATH": "/bin:/usr/bin"}, tmp_path / "log"),
    ):
        pytest.fail("there is no output")
    with (
        pytest.raises(LocalCloudError, match="half"),
        image._output_of(
            ["sh", "-c", "echo x; echo half >&2; exit 2"], {"PATH": "/bin:/usr/bin"}, tmp_path / "log"
        ) as pieces,
    ):
        list(pieces)


def test_an_interruption_stops_a_command_and_its_children(tmp_path, helpers):
    script = f"sleep 300 & echo $! > {tmp_path}/child; echo started; wait"
    with (
        pytest.raises(KeyboardInterrupt),
        image._output_of(["sh", "-c", script], {"PATH": "/bin:/usr/bin"}, tmp_path / "log") as pieces,
    ):
        next(pieces)
        raise KeyboardInterrupt
    child = (tmp_path / "child").read_text().strip()
    helpers.wait_until(
        lambda: subprocess.run(["ps", "-p", child], capture_output=True).returncode, "the child has exited"
    )


@pytest.mark.docker
def test_the_image_boots(cloud_root, helpers):
    tag = local_cloud.image(cloud_root, print)
    container = helpers.docker(
        "run", "--detach", "--cap-add", "SYS_ADMIN", "--cap-add", "NET_ADMIN", "--cap-add", "SYS_BOOT",
        "--security-opt", "seccomp=unconfined", "--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp:exec",
        "--volume", "/sys/fs/cgroup:/sys/fs/cgroup:rw", "--cgroupns=host", tag,
    ).strip()  # fmt: skip
    try:

        def state():
            done = subprocess.run(
                ["docker", "exec", container, "systemctl", "is-system-running"], capture_output=True, text=True
            )
            return done.stdout.strip()

        helpers.wait_until(lambda: state() == "running", "systemd has started everything")
        active = subprocess.run(
            ["docker", "exec", container, "systemctl", "is-active", "ssh", "prometheus", "prometheus-node-exporter"],
            capture_output=True,
            text=True,
        ).stdout.split()
        assert active == ["active", "inactive", "inactive"]
    finally:
        helpers.docker("rm", "--force", container)
