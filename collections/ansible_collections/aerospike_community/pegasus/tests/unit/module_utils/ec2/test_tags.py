"""The values of tags."""

from __future__ import annotations

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.ec2.tags import format_indexes, parse_indexes


@pytest.mark.parametrize(("indexes", "text"), [((1, 2, 3), "1-3"), ((4,), "4"), ((1, 3, 4, 9), "1,3-4,9")])
def test_index_ranges(indexes, text):
    assert format_indexes(indexes) == text
    assert tuple(parse_indexes(text)) == indexes
