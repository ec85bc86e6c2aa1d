"""The templates of roles, rendered without Ansible: the same Jinja2 settings, its filters and the collection's."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from ansible.plugins.filter.core import FilterModule as CoreFilters
from ansible_collections.aerospike_community.pegasus.plugins.filter import aerospike_conf, monitoring, perseus_client
from jinja2 import Environment, FileSystemLoader, StrictUndefined

ROLES = Path(__file__).resolve().parents[2] / "roles"
COLLECTION = "aerospike_community.pegasus"


def render(role: str, path: str, **variables: Any) -> str:
    """Return a host's file.

    :param path: on the host
    :param variables: what the template reads
    """
    template = _environment(role).get_template(f"{path.lstrip('/')}.j2")
    return template.render(ansible_managed="Managed by a test", **variables)


@functools.cache
def _environment(role: str) -> Environment:
    """Jinja2 as Ansible sets it up."""
    environment = Environment(
        loader=FileSystemLoader(ROLES / role / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(CoreFilters().filters())
    for module in (aerospike_conf, monitoring, perseus_client):
        filters = module.FilterModule().filters()
        environment.filters.update({f"{COLLECTION}.{name}": function for name, function in filters.items()})
    return environment


def perseus_configuration(**settings: Any) -> str:
    """Return Perseus's configuration.yaml for settings by the names of ``PerseusSettings``."""
    return render("perseus_client", "/var/lib/perseus/configuration.yaml", __perseus_client_settings=settings)
