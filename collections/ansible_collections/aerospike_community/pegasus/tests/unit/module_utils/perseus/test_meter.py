"""What Perseus prints as metrics: each oddity that was seen of it is a case here.

The tables are those of what Perseus does with its two files, and the list of what its output means.
"""

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
    """A line as Perseus pads it."""
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


def page(meter: Meter, now: float, service: Service = RUNS, wanted: dict | None = None, ok: bool = True) -> dict:
    """The metrics of a moment, by name with labels."""
    text = meter.render(now, service, wanted or {}, ok)
    samples = (text_line.rpartition(" ") for text_line in text.splitlines() if not text_line.startswith("#"))
    return {name: float(value) for name, _, value in samples}


def running(found: dict) -> dict[str, float]:
    """The running threads that aren't 0."""
    pattern = re.compile(r'perseus_threads_running\{workload="(\w+)"\}')
    return {match[1]: value for name, value in found.items() if (match := pattern.fullmatch(name)) and value}


# --- rows -------------------------------------------------------------------------------------------------------------


def test_rows_that_are_read_at_once_took_their_intervals_all_the_same() -> None:
    """A starved exporter beside a real Perseus at 3,000 writes a second said 83,492."""
    meter = Meter(0.0)
    meter.take([*header(1, 2), row(1, 100, 100)], 10.0)
    meter.take([row(number, 100, 100) for number in range(2, 5)], 14.0)
    meter.take([row(number, 100, 100) for number in range(5, 10)], 14.25)
    assert page(meter, 14.25)['perseus_operations_per_second{workload="write"}'] == 100


def test_a_rate_is_what_was_counted_in_the_time_that_it_took() -> None:
    meter = Meter(0.0)
    meter.take([*header(1, 2), row(1, 100, "1,200")], 10.0)
    assert page(meter, 10.0)['perseus_operations_per_second{workload="read"}'] == 1200
    # A cell is the count since the last row: a row that is late holds the more.
    meter.take([row(2, 300, "3,600")], 13.0)
    found = page(meter, 13.5)
    assert found['perseus_operations_per_second{workload="write"}'] == 100
    assert found['perseus_operations_per_second{workload="read"}'] == 1200
    assert found['perseus_operations_total{workload="read"}'] == 4800
    assert found["perseus_seconds_since_last_row"] == 0.5
    assert found["perseus_rows_total"] == 2


def test_a_batch_is_one_operation_and_all_of_its_records() -> None:
    meter = Meter(0.0)
    meter.take([*header(0, 0, 1), row(1, 0, 0, 7)], 1.0)
    found = page(meter, 1.0)
    assert found['perseus_operations_total{workload="batchWrite"}'] == 7
    assert found['perseus_records_total{workload="batchWrite"}'] == 350


def test_several_rows_at_once_and_error_lines_between_them() -> None:
    meter = Meter(0.0)
    meter.take([*header(1, 1), row(1, 5, 5)], 1.0)
    meter.take(["Error -8: Cluster is empty", row(2, 5, 5), "Server memory error", "Connection refused", "",
                row(3, 5, 5)], 3.0)  # fmt: skip
    found = page(meter, 3.0)
    assert found['perseus_operations_per_second{workload="write"}'] == 5
    assert {kind: count for kind, count in meter.errors.items() if count} == {
        "cluster_empty": 1, "server_memory": 1, "connection_refused": 1,
    }  # fmt: skip


def test_columns_that_come_and_go_with_the_configuration() -> None:
    meter = Meter(0.0)
    meter.take([*header(1, 1), row(1, 5, 5)], 1.0)
    other = [
        line("Test Cases:", "Write", "Numeric", "Total TPS"),
        line("", "", "Search", ""),
        line("Threads:", 1, 3, ""),
    ]
    meter.take([*other, line(1, 4, 2, 6)], 2.0)
    found = page(meter, 2.0)
    assert found['perseus_operations_per_second{workload="numericSearch"}'] == 2
    assert 'perseus_operations_per_second{workload="read"}' not in found
    assert found['perseus_operations_total{workload="read"}'] == 5, "what was counted stays counted"
    assert running(found) == {"write": 1, "numericSearch": 3}


def test_a_column_that_nobody_knows_has_its_own_title() -> None:
    meter = Meter(0.0)
    meter.take(
        [line("Test Cases:", 'New "x"', "Total TPS"), line("", "", ""), line("Threads:", 1, ""), line(1, 4, 4)], 1
    )
    assert page(meter, 1.0)['perseus_operations_per_second{workload="New \\"x\\""}'] == 4


def test_a_row_under_a_header_of_other_columns_is_not_read() -> None:
    meter = Meter(0.0)
    meter.take([*header(1, 1), line(1, 2, 3)], 1.0)
    assert page(meter, 1.0)["perseus_rows_total"] == 0


def test_the_header_that_comes_again_says_how_many_threads_run_now() -> None:
    meter = Meter(0.0)
    assert running(page(meter, 0.5)) == {}, "nothing is known before the first header"
    assert 'perseus_threads_running{workload="write"}' not in page(meter, 0.5)
    meter.take(header(1, 2), 1.0)
    meter.take([row(number, 1, 1) for number in range(1, 11)], 11.0)
    assert page(meter, 11.0)["perseus_threads_running_age_seconds"] == 10
    meter.take(header(0, 2), 12.0)
    found = page(meter, 12.0)
    assert running(found) == {"read": 2}
    assert found["perseus_threads_running_age_seconds"] == 0
    assert found['perseus_threads_running{workload="rangeQuery"}'] == 0, "no column, so no thread"


def test_an_outage_and_the_return() -> None:
    """All servers are gone: Perseus lives, counts failed operations, and is back at once."""
    meter = Meter(0.0)
    meter.take([*header(1, 1), row(1, 900, 900)], 1.0)
    meter.take(["Cluster is empty", row(2, 3, 2), "Cluster is empty", row(3, 1, 4)], 3.0)
    assert page(meter, 3.0)['perseus_operations_per_second{workload="write"}'] == 2, "small, and not 0"
    meter.take([row(4 + number, 900, 900) for number in range(5)], 8.0)
    assert page(meter, 8.0)['perseus_operations_per_second{workload="write"}'] == 900


def test_a_new_run_starts_its_rows_at_one() -> None:
    meter = Meter(0.0)
    meter.take([*header(1, 1), row(1, 10, 0), row(2, 10, 0)], 2.0)
    meter.take([*header(1, 1), row(1, 4, 0)], 60.0)
    found = page(meter, 60.0)
    assert found['perseus_operations_per_second{workload="write"}'] == 4, "no rate over the gap"
    assert found['perseus_operations_total{workload="write"}'] == 24


def test_what_was_printed_before_names_columns_and_counts_nothing() -> None:
    meter = Meter(100.0)
    meter.look_back([row(7, 9, 9), "Cluster is empty", *header(1, 2), row(8, 9, 9), ""], 99.0)
    found = page(meter, 100.0)
    assert found["perseus_rows_total"] == 0 and found['perseus_error_lines_total{kind="cluster_empty"}'] == 0
    assert found["perseus_seconds_since_last_row"] == 1
    assert running(found) == {"write": 1, "read": 2}
    meter.take([row(9, 5, 5)], 100.5)
    assert page(meter, 100.5)['perseus_operations_total{workload="write"}'] == 5


def test_after_a_look_back_that_ends_in_errors_the_time_of_the_last_row_is_not_known() -> None:
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
def test_error_lines_by_kind(text: str, kind: str) -> None:
    assert kind_of(text) == kind


def test_the_rest_of_a_stack_trace_is_not_another_error() -> None:
    meter = Meter(0.0)
    meter.take(
        ["java.lang.NullPointerException: x", "\tat com.Main.run(Main.java:3)", "Caused by: java.io.IOException",
         "... 12 more", '  File "a.py", line 3', "Traceback (most recent call last):"], 1.0
    )  # fmt: skip
    assert sum(meter.errors.values()) == meter.errors["exception"] == 1


# --- what Perseus does with its configuration -------------------------------------------------------------------------


def test_configuration_missing_truncates_first_and_rows_come_late() -> None:
    meter = Meter(0.0)
    meter.take(["Truncating the set: test in namespace: test!"], 1.0)
    assert page(meter, 13.0)["perseus_seconds_since_last_row"] == 13
    meter.take([*header(5, 0), row(1, 10, 0)], 13.7)
    assert page(meter, 13.7)["perseus_seconds_since_last_row"] == 0


def test_configuration_refused_or_no_server_is_a_dead_process() -> None:
    meter = Meter(0.0)
    meter.take(['Exception in thread "main" java.lang.NullPointerException', "\tat com.Main"], 1.0)
    found = page(meter, 1.0, DEAD)
    assert found["perseus_up"] == 0
    assert found['perseus_threads_running{workload="write"}'] == 0
    assert found['perseus_error_lines_total{kind="exception"}'] == 1


def test_a_process_that_died_has_no_rate_and_no_threads() -> None:
    meter = Meter(0.0)
    meter.take([*header(1, 1), row(1, 5, 5)], 1.0)
    found = page(meter, 1.1, DEAD)
    assert not [name for name in found if name.startswith("perseus_operations_per_second")]
    assert running(found) == {}
    assert found['perseus_operations_total{workload="write"}'] == 5


def test_a_hang_has_a_process_and_no_rows() -> None:
    """outputWindowConfiguration, columnWidth, readHitRatio or the range query's part missing, or an interval of 0."""
    meter = Meter(0.0)
    meter.take(['Exception in thread "main" java.lang.NullPointerException'], 1.0)
    found = page(meter, 300.0)
    assert (found["perseus_up"], found["perseus_seconds_since_last_row"]) == (1, 300)


def test_a_hang_after_rows_stops_the_rate() -> None:
    meter = Meter(0.0)
    meter.take([*header(1, 1), row(1, 5, 5)], 1.0)
    found = page(meter, 1.5 + STALE_SECONDS)
    assert found['perseus_operations_per_second{workload="write"}'] == 0
    assert found["perseus_seconds_since_last_row"] == 0.5 + STALE_SECONDS


def test_no_rows_at_all_and_rows_without_any_header() -> None:
    """0 lines before the header print no rows; with 1 the header never comes, so no cell has a name."""
    meter = Meter(0.0)
    meter.take([row(number, 5, 5) for number in range(1, 20)], 19.0)
    found = page(meter, 19.0)
    assert (found["perseus_rows_total"], found["perseus_seconds_since_last_row"]) == (0, 19)


def test_a_wrong_namespace_prints_rows_of_nothing() -> None:
    meter = Meter(0.0)
    meter.take([*header(1, 1), "Namespace not found in partition map", row(1, 0, 0), row(2, 0, 0)], 2.0)
    found = page(meter, 2.0)
    assert found["perseus_seconds_since_last_row"] == 0
    assert found['perseus_operations_per_second{workload="write"}'] == 0
    assert found['perseus_error_lines_total{kind="namespace_not_found"}'] == 1


# --- what Perseus does with threads.yaml ------------------------------------------------------------------------------


def test_a_reload_that_died_shows_as_threads_wanted_and_not_running() -> None:
    meter = Meter(0.0)
    meter.take([*header(1, 1), row(1, 5, 5)], 1.0)
    found = page(meter, 1.0, wanted={"write": 4, "read": 1})
    assert found['perseus_threads_requested{workload="write"}'] == 4
    assert running(found) == {"write": 1, "read": 1}


def test_an_exception_sets_threads_to_0() -> None:
    meter = Meter(0.0)
    meter.take([*header(0, 1), row(11, 1, 5)], 1.0)
    found = page(meter, 1.0, wanted={"write": 1, "read": 1})
    assert found['perseus_threads_running{workload="write"}'] == 0
    assert found['perseus_threads_requested{workload="write"}'] == 1


def test_a_threads_file_that_perseus_misunderstands_is_told() -> None:
    assert page(Meter(0.0), 1.0, ok=False)["perseus_threads_file_ok"] == 0
    assert page(Meter(0.0), 1.0, ok=True)["perseus_threads_file_ok"] == 1
