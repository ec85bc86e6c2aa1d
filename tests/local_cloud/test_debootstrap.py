"""debootstrap's mirror, and the failure and interruption of its command."""

from __future__ import annotations

import subprocess

import pytest

from local_cloud import LocalCloudError, debootstrap


def test_the_machines_debian_mirror_is_found(tmp_path):
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(
        "# deb http://old.example/debian x main\ndeb http://ubuntu.example/ubuntu noble main\n"
    )
    assert debootstrap._host_mirror("debian", tmp_path) == ""
    (tmp_path / "sources.list.d/debian.sources").write_text(
        "Types: deb\nURIs: http://near.example/debian/\nSuites: bookworm\n\nTypes: deb\nURIs: http://near.example/debian-security\n"
    )
    assert debootstrap._host_mirror("debian", tmp_path) == "http://near.example/debian"
    assert debootstrap._host_mirror("debian-security", tmp_path) == "http://near.example/debian-security"


def test_a_failing_command_is_reported_with_its_last_lines(tmp_path):
    with (
        pytest.raises(LocalCloudError, match="no such suite"),
        debootstrap._output_of(
            ["sh", "-c", "echo no such suite >&2; exit 1"], {"PATH": "/bin:/usr/bin"}, tmp_path / "log"
        ),
    ):
        pytest.fail("there is no output")
    with (
        pytest.raises(LocalCloudError, match="half"),
        debootstrap._output_of(
            ["sh", "-c", "echo x; echo half >&2; exit 2"], {"PATH": "/bin:/usr/bin"}, tmp_path / "log"
        ) as chunks,
    ):
        list(chunks)


def test_an_interruption_stops_a_command_and_its_children(tmp_path, helpers):
    script = f"sleep 300 & echo $! > {tmp_path}/child; echo started; wait"
    with (
        pytest.raises(KeyboardInterrupt),
        debootstrap._output_of(["sh", "-c", script], {"PATH": "/bin:/usr/bin"}, tmp_path / "log") as chunks,
    ):
        next(chunks)
        raise KeyboardInterrupt
    child = (tmp_path / "child").read_text().strip()
    helpers.wait_until(
        lambda: subprocess.run(["ps", "-p", child], capture_output=True).returncode, "the child has exited"
    )
