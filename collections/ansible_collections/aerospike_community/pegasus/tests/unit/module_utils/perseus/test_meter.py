"""Perseus's output as metrics. Each case is behaviour of Perseus that was observed."""

from __future__ import annotations

import re

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.perseus.meter import (
    STALE_SECONDS,
    Meter,
    Service,
    kind_of,
)

RUNS, DEAD = Service(active=True, restarts=0), Service(active=False, restarts=0)


def line(*cells: object) -> str:
    """A line with Perseus's padding."""
    return "|" + "".join(f" {cell!s:<11} |" for cell in cells)


def header(write: int, read: int, batch: int = 0) -> list[str]:
    return [
        "=" * 70,
        line("Test Cases:", "Write", "Read", "Batch Write", "Total TPS"),
        line("", "", "HitRate %80", "Size: 50", ""),
        "-" * 70,
        line("Threads:", write, read, batch, ""),
        "=" * 70,
    ]


def row(number: int, write: object, read: object, batch: object = 0) -> str:
    total = sum(int(str(cell).replace(",", "")) for cell in (write, read, batch))
    return line(number, write, read, batch, f"{total:,}")


def page(meter: Meter, now: float, service: Service = RUNS, requested: dict | None = None, ok: bool = True) -> dict:
    """The metrics at a moment, by name with labels."""
    text = meter.render(now, service, requested or {}, ok)
    samples = (text_line.rpartition(" ") for text_line in text.splitlines() if not text_line.startswith("#"))
    return {name: float(value) for name, _, value in samples}


def running(found: dict) -> dict[str, float]:
    """The running threads that aren't 0."""
    pattern = re.compile(r'perseus_threads_running\{workload="(\w+)"\}')
    return {match[1]: value for name, value in found.items() if (match := pattern.fullmatch(name)) and value}


# --- rows -------------------------------------------------------------------------------------------------------------


def test_rows_that_are_read_at_once_still_took_their_intervals() -> None:
    """A starved exporter reported 83,492 for a real Perseus at 3,000 writes per second."""
    meter = Meter(0.0)
    meter.read([*header(1, 2), row(1, 100, 100)], 10.0)
    meter.read([row(number, 100, 100) for number in range(2, 5)], 14.0)
    meter.read([row(number, 100, 100) for number in range(5, 10)], 14.25)
    assert page(meter, 14.25)['perseus_operations_per_second{workload="write"}'] == 100


def test_a_rate_is_the_count_over_the_time_it_took() -> None:
    meter = Meter(0.0)
    meter.read([*header(1, 2), row(1, 100, "1,200")], 10.0)
    assert page(meter, 10.0)['perseus_operations_per_second{workload="read"}'] == 1200
    # A cell is the count since the last row, so a late row has a higher count.
    meter.read([row(2, 300, "3,600")], 13.0)
    found = page(meter, 13.5)
    assert found['perseus_operations_per_second{workload="write"}'] == 100
    assert found['perseus_operations_per_second{workload="read"}'] == 1200
    assert found['perseus_operations_total{workload="read"}'] == 4800
    assert found["perseus_seconds_since_last_row"] == 0.5
    assert found["perseus_rows_total"] == 2


def test_a_batch_counts_once_as_operation_and_with_all_its_records() -> None:
    meter = Meter(0.0)
    meter.read([*header(0, 0, 1), row(1, 0, 0, 7)], 1.0)
    found = page(meter, 1.0)
    assert found['perseus_operations_total{workload="batchWrite"}'] == 7
    assert found['perseus_records_total{workload="batchWrite"}'] == 350


def test_rows_and_error_lines_read_at_once() -> None:
    meter = Meter(0.0)
    meter.read([*header(1, 1), row(1, 5, 5)], 1.0)
    meter.read(["Error -8: Cluster is empty", row(2, 5, 5), "Server memory error", "Connection refused", "",
                row(3, 5, 5)], 3.0)  # fmt: skip
    found = page(meter, 3.0)
    assert found['perseus_operations_per_second{workload="write"}'] == 5
    assert {kind: count for kind, count in meter.errors.items() if count} == {
        "cluster_empty": 1, "server_memory": 1, "connection_refused": 1,
    }  # fmt: skip


def test_columns_change_with_the_configuration() -> None:
    meter = Meter(0.0)
    meter.read([*header(1, 1), row(1, 5, 5)], 1.0)
    other = [
        line("Test Cases:", "Write", "Numeric", "Total TPS"),
        line("", "", "Search", ""),
        line("Threads:", 1, 3, ""),
    ]
    meter.read([*other, line(1, 4, 2, 6)], 2.0)
    found = page(meter, 2.0)
    assert found['perseus_operations_per_second{workload="numericSearch"}'] == 2
    assert 'perseus_operations_per_second{workload="read"}' not in found
    assert found['perseus_operations_total{workload="read"}'] == 5, "counters keep their values"
    assert running(found) == {"write": 1, "numericSearch": 3}


def test_an_unknown_column_keeps_its_title() -> None:
    meter = Meter(0.0)
    meter.read(
        [line("Test Cases:", 'New "x"', "Total TPS"), line("", "", ""), line("Threads:", 1, ""), line(1, 4, 4)], 1
    )
    assert page(meter, 1.0)['perseus_operations_per_second{workload="New \\"x\\""}'] == 4


def test_a_row_that_does_not_match_its_header_is_ignored() -> None:
    meter = Meter(0.0)
    meter.read([*header(1, 1), line(1, 2, 3)], 1.0)
    assert page(meter, 1.0)["perseus_rows_total"] == 0


def test_the_newest_header_has_the_running_threads() -> None:
    meter = Meter(0.0)
    assert running(page(meter, 0.5)) == {}, "unknown before the first header"
    assert 'perseus_threads_running{workload="write"}' not in page(meter, 0.5)
    meter.read(header(1, 2), 1.0)
    meter.read([row(number, 1, 1) for number in range(1, 11)], 11.0)
    assert page(meter, 11.0)["perseus_threads_running_age_seconds"] == 10
    meter.read(header(0, 2), 12.0)
    found = page(meter, 12.0)
    assert running(found) == {"read": 2}
    assert found["perseus_threads_running_age_seconds"] == 0
    assert found['perseus_threads_running{workload="rangeQuery"}'] == 0, "no column, so no threads"


def test_an_outage_and_the_recovery() -> None:
    """All servers are down: Perseus keeps running, counts failed operations, and recovers at once."""
    meter = Meter(0.0)
    meter.read([*header(1, 1), row(1, 900, 900)], 1.0)
    meter.read(["Cluster is empty", row(2, 3, 2), "Cluster is empty", row(3, 1, 4)], 3.0)
    assert page(meter, 3.0)['perseus_operations_per_second{workload="write"}'] == 2, "small but not 0"
    meter.read([row(4 + number, 900, 900) for number in range(5)], 8.0)
    assert page(meter, 8.0)['perseus_operations_per_second{workload="write"}'] == 900


def test_a_new_run_counts_its_rows_from_one() -> None:
    meter = Meter(0.0)
    meter.read([*header(1, 1), row(1, 10, 0), row(2, 10, 0)], 2.0)
    meter.read([*header(1, 1), row(1, 4, 0)], 60.0)
    found = page(meter, 60.0)
    assert found['perseus_operations_per_second{workload="write"}'] == 4, "no rate over the gap"
    assert found['perseus_operations_total{workload="write"}'] == 24


def test_earlier_output_names_the_columns_and_counts_nothing() -> None:
    meter = Meter(100.0)
    meter.look_back([row(7, 9, 9), "Cluster is empty", *header(1, 2), row(8, 9, 9), ""], 99.0)
    found = page(meter, 100.0)
    assert found["perseus_rows_total"] == 0 and found['perseus_error_lines_total{kind="cluster_empty"}'] == 0
    assert found["perseus_seconds_since_last_row"] == 1
    assert running(found) == {"write": 1, "read": 2}
    meter.read([row(9, 5, 5)], 100.5)
    assert page(meter, 100.5)['perseus_operations_total{workload="write"}'] == 5


def test_after_earlier_output_that_ends_in_errors_the_time_of_the_last_row_is_unknown() -> None:
    meter = Meter(100.0)
    meter.look_back([*header(1, 2), row(8, 9, 9), "Cluster is empty"], 99.9)
    assert page(meter, 130.0)["perseus_seconds_since_last_row"] == 30


# --- error lines ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Cluster is empty", "cluster_empty"),
        ("com.aerospike.client.AerospikeException: Error -8: Cluster is empty", "cluster_empty"),
        ("Error -3: Namespace not found in partition map: Wrong", "namespace_not_found"),
        ("Server memory error", "server_memory"),
        ("java.net.ConnectException: Connection refused", "connection_refused"),
        ("com.aerospike.client.AerospikeException: Error 25,1,0,30000: Operation only supported by enterprise",
         "enterprise_only"),
        ("com.aerospike.client.AerospikeException$Timeout: Client timeout", "timeout"),
        ("Exception in thread \"main\" java.lang.NullPointerException", "exception"),
        ("Truncating the set: test in namespace: Test!", "unknown"),
    ],
)  # fmt: skip
def test_error_lines_have_a_kind(text: str, kind: str) -> None:
    assert kind_of(text) == kind


def test_a_stack_trace_counts_once() -> None:
    meter = Meter(0.0)
    meter.read(
        ["java.lang.NullPointerException: x", "\tat com.Main.run(Main.java:3)", "Caused by: java.io.IOException",
         "... 12 more", '  File "a.py", line 3', "Traceback (most recent call last):"], 1.0
    )  # fmt: skip
    assert sum(meter.errors.values()) == meter.errors["exception"] == 1


# --- Perseus's behaviour with its configuration -----------------------------------------------------------------------


def test_without_a_configuration_perseus_truncates_first_and_rows_come_late() -> None:
    meter = Meter(0.0)
    meter.read(["Truncating the set: test in namespace: test!"], 1.0)
    assert page(meter, 13.0)["perseus_seconds_since_last_row"] == 13
    meter.read([*header(5, 0), row(1, 10, 0)], 13.7)
    assert page(meter, 13.7)["perseus_seconds_since_last_row"] == 0


def test_a_refused_configuration_is_a_dead_process() -> None:
    meter = Meter(0.0)
    meter.read(['Exception in thread "main" java.lang.NullPointerException', "\tat com.Main"], 1.0)
    found = page(meter, 1.0, DEAD)
    assert found["perseus_up"] == 0
    assert found['perseus_threads_running{workload="write"}'] == 0
    assert found['perseus_error_lines_total{kind="exception"}'] == 1


def test_a_dead_process_has_no_rate_and_no_threads() -> None:
    meter = Meter(0.0)
    meter.read([*header(1, 1), row(1, 5, 5)], 1.0)
    found = page(meter, 1.1, DEAD)
    assert not [name for name in found if name.startswith("perseus_operations_per_second")]
    assert running(found) == {}
    assert found['perseus_operations_total{workload="write"}'] == 5


def test_a_hang_is_a_running_process_without_rows() -> None:
    """Without outputWindowConfiguration, columnWidth, readHitRatio or the range query, or with an interval of 0."""
    meter = Meter(0.0)
    meter.read(['Exception in thread "main" java.lang.NullPointerException'], 1.0)
    found = page(meter, 300.0)
    assert (found["perseus_up"], found["perseus_seconds_since_last_row"]) == (1, 300)


def test_a_hang_after_rows_stops_the_rate() -> None:
    meter = Meter(0.0)
    meter.read([*header(1, 1), row(1, 5, 5)], 1.0)
    found = page(meter, 1.5 + STALE_SECONDS)
    assert found['perseus_operations_per_second{workload="write"}'] == 0
    assert found["perseus_seconds_since_last_row"] == 0.5 + STALE_SECONDS


def test_rows_without_a_header_are_ignored() -> None:
    """With 1 line before the header, Perseus never prints the header."""
    meter = Meter(0.0)
    meter.read([row(number, 5, 5) for number in range(1, 20)], 19.0)
    found = page(meter, 19.0)
    assert (found["perseus_rows_total"], found["perseus_seconds_since_last_row"]) == (0, 19)


def test_a_wrong_namespace_prints_rows_of_zero() -> None:
    meter = Meter(0.0)
    meter.read([*header(1, 1), "Namespace not found in partition map", row(1, 0, 0), row(2, 0, 0)], 2.0)
    found = page(meter, 2.0)
    assert found["perseus_seconds_since_last_row"] == 0
    assert found['perseus_operations_per_second{workload="write"}'] == 0
    assert found['perseus_error_lines_total{kind="namespace_not_found"}'] == 1


# --- Perseus's behaviour with threads.yaml ----------------------------------------------------------------------------


def test_after_a_dead_reload_requested_and_running_threads_differ() -> None:
    meter = Meter(0.0)
    meter.read([*header(1, 1), row(1, 5, 5)], 1.0)
    found = page(meter, 1.0, requested={"write": 4, "read": 1})
    assert found['perseus_threads_requested{workload="write"}'] == 4
    assert running(found) == {"write": 1, "read": 1}


def test_after_an_exception_no_threads_run() -> None:
    meter = Meter(0.0)
    meter.read([*header(0, 1), row(11, 1, 5)], 1.0)
    found = page(meter, 1.0, requested={"write": 1, "read": 1})
    assert found['perseus_threads_running{workload="write"}'] == 0
    assert found['perseus_threads_requested{workload="write"}'] == 1


def test_an_invalid_threads_file_is_reported() -> None:
    assert page(Meter(0.0), 1.0, ok=False)["perseus_threads_file_ok"] == 0
    assert page(Meter(0.0), 1.0, ok=True)["perseus_threads_file_ok"] == 1
