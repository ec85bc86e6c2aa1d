"""configuration.yaml: exactly Perseus's names and types, and all wrong values reported at once."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.aerospike_community.pegasus.plugins.filter import perseus_client
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.perseus.configuration import (
    PerseusConfigError,
    PerseusSettings,
    configuration,
    settings_from,
)
from ansible_collections.aerospike_community.pegasus.tests.unit.role_templates import perseus_configuration
from hypothesis import given
from hypothesis import strategies as st

HOSTS = {"hosts": ["10.0.0.1", "10.0.0.2"]}


def problems_of(**values: object) -> list[str]:
    """The problems for which settings are refused."""
    with pytest.raises(PerseusConfigError) as caught:
        settings_from({**HOSTS, **values})
    return caught.value.problems


def test_the_file_has_exactly_the_names_that_perseus_knows() -> None:
    data = yaml.safe_load(perseus_configuration(**HOSTS, namespace="Test", read_hit_ratio=1, id=2))
    assert data == {
        "aerospikeConfiguration": {
            "hosts": [{"ip": "10.0.0.1", "port": 3000}, {"ip": "10.0.0.2", "port": 3000}],
            "username": "",
            "password": "",
            "namespace": "Test",
            "set": "test",
            "truncateSet": False,
        },
        "outputWindowConfiguration": {
            "printIntervalSec": 1,
            "numberOfLinesBeforeReprintingTheHeader": 10,
            "columnWidth": 11,
        },
        "testConfiguration": {
            "perseusId": 2,
            "recordSize": 300,
            "readBatchSize": 200,
            "writeBatchSize": 100,
            "readHitRatio": 1.0,
            "stringIndex": False,
            "numericIndex": False,
            "geoSpatialIndex": False,
            "udfAggregation": False,
            "rangeQuery": False,
            "rangeQueryConfiguration": {"maxTimeRangeChance": 0.01, "maxTimeRange": 100, "normalTimeRange": 10},
        },
    }


def test_text_from_the_command_line_becomes_numbers_and_booleans() -> None:
    settings = settings_from({**HOSTS, "record_size": "500", "read_hit_ratio": "0.5", "range_query": "true"})
    assert (settings.record_size, settings.read_hit_ratio, settings.range_query) == (500, 0.5, True)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("record_size", 177, "at least 178"),
        ("record_size", "big", "whole number"),
        ("record_size", 200.5, "whole number"),
        ("record_size", True, "whole number"),
        ("record_size", 2**31, "at most"),
        ("read_batch_size", 0, "above 0"),
        ("write_batch_size", -1, "above 0"),
        ("read_hit_ratio", 1.1, "0.0 to 1.0"),
        ("read_hit_ratio", "nan", "number"),
        ("read_hit_ratio", None, "number"),
        ("max_time_range_chance", -0.1, "0.0 to 1.0"),
        ("max_time_range", 0, "above 0"),
        ("truncate_set", "maybe", "true or false"),
        ("namespace", "", "empty"),
        ("set", None, "text"),
        ("set", "caf\u00e9", "ASCII"),
        ("set", "a\nb", "ASCII"),
        ("hosts", [], "found none"),
        ("hosts", "10.0.0.1", "list"),
        ("hosts", ["10.0.0.1", ""], "empty address"),
        ("port", 70000, "65535"),
        ("id", -1, "0 or more"),
    ],
)
def test_a_wrong_value_is_named(name: str, value: object, reason: str) -> None:
    (problem,) = problems_of(**{name: value})
    assert problem.startswith(f"{name}: ")
    assert reason in problem


def test_all_problems_are_reported_at_once() -> None:
    assert len(problems_of(record_size=1, read_batch_size=0, colour="red")) == 3


def test_hosts_are_required() -> None:
    with pytest.raises(PerseusConfigError, match="hosts: found none"):
        settings_from({})


def test_the_filter_names_the_role_variable() -> None:
    with pytest.raises(AnsibleFilterError, match="perseus_client_record_size: found 5"):
        perseus_client.perseus_configuration({**HOSTS, "record_size": 5})


NAMES = st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=31)


@given(
    st.builds(
        PerseusSettings,
        hosts=st.lists(NAMES.filter(str.strip), min_size=1, max_size=3),
        namespace=NAMES,
        set=NAMES,
        read_hit_ratio=st.floats(0, 1).map(lambda number: round(number, 12)),
        max_time_range_chance=st.floats(0, 1).map(lambda number: round(number, 12)),
        truncate_set=st.booleans(),
    )
)
def test_a_rendered_file_means_the_same_to_yaml(settings: PerseusSettings) -> None:
    assert yaml.safe_load(perseus_configuration(**asdict(settings))) == configuration(settings)
