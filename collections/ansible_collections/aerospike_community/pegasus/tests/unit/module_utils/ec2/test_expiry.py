"""The timer that powers an instance off."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2 import (
    expiry,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.request import user_data


def test_the_timers_of_first_boot_and_extension_differ_only_in_their_time():
    script = user_data(3600)
    metric, service, timer = expiry.expiry_files("2026-01-31T12:00:00Z")
    assert (
        metric["content"].splitlines()[-1]
        == f"pegasus_expires_seconds {int(datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp())}"
    )
    assert metric["content"].replace(str(1769860800), "$seconds") in script
    assert service["content"] in script
    assert timer["content"].replace("2026-01-31 12:00:00 UTC", "$end") in script
    assert "+ 3600)" in script
    assert "OnCalendar=2199-01-01" in expiry.expiry_files("never")[2]["content"]
    assert "pegasus_expires_seconds" not in expiry.expiry_files("never")[0]["content"]
    with pytest.raises(ValueError):
        expiry.expiry_files("tomorrow")
