"""The artifact mirror over HTTP."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest

from pegasus_driver.local_cloud.mirror import Mirror


@pytest.fixture
def mirror(tmp_path):
    folder = tmp_path / "mirror"
    (folder / "site/artifacts").mkdir(parents=True)
    (folder / "site/artifacts/package_1.2.tgz").write_bytes(b"content")
    (tmp_path / "secret").write_text("outside")
    served = Mirror(folder, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{served.port}"
    served.close()


def get(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read()


def test_listings_and_files(mirror):
    assert b'href="package_1.2.tgz"' in get(f"{mirror}/site/artifacts/")
    assert get(f"{mirror}/site/artifacts/package_1.2.tgz") == b"content"


def test_what_is_not_there_is_404(mirror):
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(f"{mirror}/site/none")


def test_nothing_outside_is_served(mirror):
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(f"{mirror}/../secret")


def test_an_address_that_this_machine_does_not_have_is_an_error(tmp_path):
    with pytest.raises(OSError, match=r".*"):
        Mirror(tmp_path, "192.0.2.77", 0, wait=0.2)
