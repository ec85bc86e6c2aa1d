"""The image's tag and its sources; with an engine, that it boots as in molecule."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from local_cloud import cloud as local_cloud
from local_cloud import image


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
