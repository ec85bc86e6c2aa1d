"""The artifact mirror over HTTP."""

from __future__ import annotations

import http.client
import os
import urllib.error
import urllib.request

import pytest

from local_cloud.mirror import Mirror


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("served") / "mirror"


@pytest.fixture(scope="module")
def mirror(folder):
    (folder / "site/artifacts").mkdir(parents=True)
    (folder / "site/artifacts/package_1.2.tgz").write_bytes(b"content")
    (folder.parent / "secret").write_text("outside")
    served = Mirror(folder, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{served.port}"
    served.close()


FILE = "/site/artifacts/package_1.2.tgz"


def get(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read()


def request(mirror, method="GET", path=FILE, **headers):
    """Status, headers and body. A second request over the same connection would show a wrong content length."""
    connection = http.client.HTTPConnection(mirror.removeprefix("http://"), timeout=5)
    for _ in range(2):
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        body = answer.read()
    connection.close()
    return answer.status, answer.headers, body


def test_listings_and_files(mirror):
    assert b'href="package_1.2.tgz"' in get(f"{mirror}/site/artifacts/")
    assert get(f"{mirror}/site/artifacts/package_1.2.tgz") == b"content"


def test_a_missing_file_is_404(mirror):
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(f"{mirror}/site/none")


def test_files_outside_the_folder_are_not_served(mirror):
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(f"{mirror}/../secret")


@pytest.mark.parametrize(
    ("requested", "status", "content_range", "body"),
    [
        ("bytes=3-", 206, "bytes 3-6/7", b"tent"),
        ("bytes=0-2", 206, "bytes 0-2/7", b"con"),
        ("bytes=5-100", 206, "bytes 5-6/7", b"nt"),
        ("bytes=-2", 206, "bytes 5-6/7", b"nt"),
        ("bytes=-100", 206, "bytes 0-6/7", b"content"),
        ("bytes=7-", 416, "bytes */7", b""),
        ("bytes=0-1,3-4", 200, None, b"content"),
        ("lines=1-2", 200, None, b"content"),
        ("bytes=x", 200, None, b"content"),
    ],
)
def test_ranges(mirror, requested, status, content_range, body):
    found, headers, got = request(mirror, Range=requested)
    assert (found, headers["Content-Range"], got) == (status, content_range, body)


def test_a_range_belongs_to_the_requested_version(mirror, folder):
    file = folder / "package.tgz"
    file.write_bytes(b"content")
    _, headers, _ = request(mirror, path="/package.tgz")
    assert headers["Accept-Ranges"] == "bytes"
    tag, modified = headers["ETag"], headers["Last-Modified"]
    assert request(mirror, path="/package.tgz", Range="bytes=3-", If_Range=tag)[::2] == (206, b"tent")
    assert request(mirror, path="/package.tgz", Range="bytes=3-", If_Range=modified)[::2] == (206, b"tent")
    # With the same size and time, as a rebuilt archive may have.
    before = file.stat()
    replacement = file.with_name("replacement")
    replacement.write_bytes(b"another")
    os.utime(replacement, ns=(before.st_atime_ns, before.st_mtime_ns))
    replacement.replace(file)
    assert request(mirror, path="/package.tgz", Range="bytes=3-", If_Range=tag)[::2] == (200, b"another")
    old = "Sat, 01 Jan 2000 00:00:00 GMT"
    assert request(mirror, path="/package.tgz", Range="bytes=3-", If_Range=old)[::2] == (200, b"another")


def test_a_head_request_ignores_the_range(mirror):
    status, headers, body = request(mirror, "HEAD", Range="bytes=3-")
    assert (status, headers["Content-Length"], body) == (200, "7", b"")


def test_an_address_of_another_machine_is_an_error(tmp_path):
    with pytest.raises(OSError, match=r".*"):
        Mirror(tmp_path, "192.0.2.77", 0, wait=0.2)
