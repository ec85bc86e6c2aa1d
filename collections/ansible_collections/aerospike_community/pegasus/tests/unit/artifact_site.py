"""A download site of the server's archives, for tests that choose among them."""

from __future__ import annotations

from ansible_collections.aerospike_community.pegasus.plugins.module_utils.host.artifacts import NotFoundError

VALUES = {"distribution": "debian12", "architecture": "x86_64", "deb_architecture": "amd64", "format": "deb"}
SITE = "http://mirror/download.aerospike.com/artifacts/aerospike-server-community"
FILE = "aerospike-server-community_{version}_tools-*_{distribution}_{architecture}.tgz"


def page(*names: str) -> str:
    return '<a href="?C=N;O=D">Name</a><a href="../">Parent</a>' + "".join(
        f'<a href="{name}">{name}</a>' for name in names
    )


class Pages:
    """A site of pages, and the pages that were read."""

    def __init__(self, **pages: str) -> None:
        self.pages = {f"{SITE}/{path}": text for path, text in pages.items()}
        self.read: list[str] = []

    def __call__(self, url: str) -> str:
        self.read.append(url)
        if url not in self.pages:
            raise NotFoundError(f"found nothing at {url} (HTTP 404)")
        return self.pages[url]


def archive(version: str, tools: str, distribution: str = "debian12", architecture: str = "x86_64") -> str:
    return f"aerospike-server-community_{version}_tools-{tools}_{distribution}_{architecture}.tgz"


def server_site() -> Pages:
    """The site with some releases and the archives of one of them."""
    listing = page(
        archive("8.0.0.10", "11.2.2"),
        archive("8.0.0.10", "11.10.0"),
        archive("8.0.0.10", "11.10.0", "ubuntu24.04"),
        archive("8.0.0.10", "11.10.0", "debian12", "aarch64"),
        archive("8.0.0.10", "11.10.0") + ".sha256",
    )
    return Pages(**{"": page("8.0.0.4/", "8.0.0.10/", "8.1.0.3/", "latest/", "readme.txt"), "8.0.0.10/": listing})
