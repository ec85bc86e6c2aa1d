"""Whether a load is real: rows of Perseus against counters as the real server counts them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.health import Problem
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.perseus import proof
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.perseus.proof import (
    Sample,
    Verdict,
    Window,
    judge,
)
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.perseus.rows import Row
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.perseus.threads import WORKLOADS

STOPPED = Problem(
    "10.0.0.1", "test", "stop-writes", "a namespace that accepts writes",
    "stop_writes because data_avail_pct 4 is below stop-writes-avail-pct 5", "lower the threads that write",
)  # fmt: skip
UNAVAILABLE = Problem(
    "10.0.0.1", "test", "unavailable partitions", "every partition to be served", "9 partitions", "", stops_reads=True
)
EVICTING = Problem("10.0.0.1", "test", "eviction", "no record to be evicted", "hwm_breached", "", stops_writes=False)


def row(number: int, records: int = 1, **counts: int) -> Row:
    """A row. `records` is the size of every batch."""
    sizes = {name: records if name.startswith("batch") else 1 for name in counts}
    return Row(number, {**counts, "total": sum(counts.values())}, {**sizes, "total": 1})


def window(rows: list[Row], nodes: int = 3, seconds: float = 3.0, clients: int = 1, **growth: int) -> Window:
    """Rows between two samples of counters with this growth."""
    before = dict.fromkeys(growth, 1000)
    return Window(
        rows, Sample(10.0, before), Sample(10.0 + seconds, {k: 1000 + v for k, v in growth.items()}), nodes, clients
    )


def rows(records: int = 1, **counts: int) -> list[Row]:
    """Three equal rows."""
    return [row(number, records, **counts) for number in (2, 3, 4)]


def threads(**counts: int) -> dict[str, int]:
    """The content of threads.yaml."""
    return {**dict.fromkeys(WORKLOADS, 0), **counts}


THREE = rows(write=100, read=200, udf=0)
THREADS = threads(write=1, read=2)


def test_rows_that_the_servers_confirm_are_ready() -> None:
    verdict = judge(
        window(THREE, client_write_success=300, client_read_success=590, client_read_not_found=10), THREADS, 0.25
    )
    assert (verdict.problem, verdict.warnings) == ("", [])
    assert (verdict.operations, verdict.records, verdict.answered, verdict.failed) == (300.0, 300.0, 300.0, 0.0)
    assert verdict.kinds == {
        "read": {"answered": 200.0, "failed": 0.0, "unanswered": 0.0},
        "write": {"answered": 100.0, "failed": 0.0, "unanswered": 0.0},
    }


def test_operations_and_records_are_told_apart() -> None:
    """Seen on the real server: `status` showed 98,187 operations/s, Perseus and Grafana 11,946."""
    batches = rows(100, batchWrite=760, write=1000)
    verdict = judge(
        window(batches, batch_sub_write_success=228_000, client_write_success=3000),
        threads(batchWrite=2, write=1), 0.25,
    )  # fmt: skip
    assert verdict.problem == ""
    assert (verdict.operations, verdict.records) == (1760.0, 77_000.0)
    assert verdict.workloads == {
        "batchWrite": {"operations_per_second": 760.0, "records_per_second": 76_000.0},
        "write": {"operations_per_second": 1000.0, "records_per_second": 1000.0},
    }
    assert verdict.result() == {
        "operations_per_second": 1760.0,
        "records_per_second": 77_000.0,
        "workloads": verdict.workloads,
        "servers": {
            "answered_records_per_second": 77_000.0,
            "failed_records_per_second": 0.0,
            "kinds": {
                "batch_write": {"answered": 76_000.0, "failed": 0.0, "unanswered": 0.0},
                "write": {"answered": 1000.0, "failed": 0.0, "unanswered": 0.0},
            },
        },
    }


def refused_batches() -> Window:
    """Seen on the real server in stop-writes: 115,006 failed sub-writes a second, no success, and healthy rows."""
    return window(rows(100, batchWrite=759, read=900), batch_sub_write_error=345_018, client_read_success=2710)


def test_writes_that_the_servers_refuse_are_not_ready() -> None:
    verdict = judge(refused_batches(), threads(batchWrite=2, read=1), 0.25, health=[STOPPED, EVICTING])
    assert verdict.problem == (
        "expected batchWrite (2 threads) to succeed, found 115,006 failed and 0 answered batch writes a second on the "
        "servers: stop-writes of node 10.0.0.1 (namespace test: stop_writes because data_avail_pct 4 is below "
        "stop-writes-avail-pct 5)"
    )
    assert (verdict.failed, verdict.answered) == (115_006.0, 903.3)


def test_the_reasons_of_a_large_cluster_are_counted() -> None:
    problems = [replace(STOPPED, node=f"10.0.0.{number}") for number in range(1, 101)]
    verdict = judge(refused_batches(), threads(batchWrite=2, read=1), 0.25, health=problems)
    assert verdict.problem.count("stop-writes of node") == 3 and verdict.problem.endswith("; and 97 more")


def test_a_failure_without_a_reason_of_the_servers_names_what_to_read() -> None:
    verdict = judge(refused_batches(), threads(batchWrite=2, read=1), 0.25)
    assert verdict.problem.endswith("no server reports a reason, so see the lines of Perseus and the servers' logs")


@pytest.mark.parametrize(
    ("workload", "records", "failed", "other"),
    [
        ("write", 1, "client_write_error", "client_read_success"),
        ("update", 1, "client_write_error", "client_read_success"),
        ("expressionWrite", 1, "client_write_timeout", "client_read_success"),
        ("batchWrite", 50, "batch_sub_write_error", "client_write_success"),
        ("read", 1, "client_read_error", "client_write_success"),
        ("expressionRead", 1, "client_read_timeout", "client_write_success"),
        ("batchRead", 50, "batch_sub_read_timeout", "client_read_success"),
        ("delete", 1, "client_delete_error", "client_write_success"),
        ("udf", 1, "client_udf_error", "client_write_success"),
        ("rangeQuery", 1, "si_query_long_basic_error", "client_read_success"),
        ("geospatialSearch", 1, "si_query_short_basic_timeout", "client_read_success"),
        ("udfAggregation", 1, "si_query_aggr_abort", "client_read_success"),
    ],
)
def test_each_workload_is_judged_by_its_own_kind(workload: str, records: int, failed: str, other: str) -> None:
    """100,000 other operations that succeed don't make up for it."""
    growth = {failed: 300 * records, other: 100_000}
    verdict = judge(window(rows(records, **{workload: 100}), nodes=1, **growth), threads(**{workload: 2}), 0.25)
    assert verdict.problem.startswith(
        f"expected {workload} (2 threads) to succeed, found {100 * records:,} failed and 0 "
    )
    success = failed.rpartition("_")[0] + ("_complete" if "query" in failed or "udf" in failed else "_success")
    works = {success: 300 * records}
    assert judge(window(rows(records, **{workload: 100}), **works), threads(**{workload: 2}), 0.25).problem == ""


def test_the_writes_of_perseus_itself_are_no_success_of_the_load() -> None:
    """At the limit of its set, every write of the load fails. Perseus still updates its range of keys every second."""
    counters = {"client_write_error": 3, "client_write_success": 12, "client_read_success": 12}
    few = window(rows(write=1), clients=4, **counters)
    assert (
        "expected write (1 thread) to succeed, found 1 failed and 0 answered"
        in judge(few, threads(write=1), 0.25).problem
    )
    many = window(rows(write=100), clients=4, **(counters | {"client_write_success": 312}))
    assert judge(many, threads(write=1), 0.25).problem == ""


def test_one_node_that_refuses_is_not_ready_even_if_others_answer() -> None:
    counted = window(THREE, client_write_success=200, client_write_error=100, client_read_success=600)
    assert "33 failed" in judge(counted, THREADS, 0.25, health=[STOPPED]).problem
    unexplained = judge(counted, THREADS, 0.25, health=[EVICTING])
    assert unexplained.problem == ""
    assert unexplained.warnings == ["33% of the writes fail on the servers, 33 records/s"]


def test_stopped_writes_do_not_explain_failed_reads() -> None:
    counted = window(THREE, client_write_success=300, client_read_success=500, client_read_timeout=100)
    assert judge(counted, THREADS, 0.25, health=[STOPPED]).problem == ""
    assert "unavailable partitions of node 10.0.0.1" in judge(counted, THREADS, 0.25, health=[UNAVAILABLE]).problem


def test_operations_that_fail_before_their_kind_is_known_count_too() -> None:
    """A server refuses operations for an unavailable partition before it knows whether they read or write."""
    verdict = judge(window(THREE, client_tsvc_error=900), THREADS, 0.25, health=[UNAVAILABLE])
    assert "expected read (2 threads) to succeed, found 300 failed and 0 answered reads" in verdict.problem
    assert "expected write (1 thread) to succeed" in verdict.problem
    assert verdict.kinds["unknown"] == {"answered": 0.0, "failed": 300.0, "unanswered": 0.0}
    some = judge(window(THREE, client_write_success=300, client_read_success=560, client_tsvc_error=40), THREADS, 0.25)
    assert (some.problem, len(some.warnings)) == ("", 1)


def test_a_record_that_is_not_found_or_filtered_is_an_answer() -> None:
    answers = {"client_read_not_found": 600, "client_write_filtered_out": 300, "client_read_error": 5}
    verdict = judge(window(THREE, **answers), THREADS, 0.25)
    assert (verdict.problem, verdict.warnings) == ("", [])


def test_rows_that_the_servers_do_not_confirm_are_not_ready() -> None:
    verdict = judge(window(THREE, client_write_success=300, client_read_success=100), THREADS, 0.25)
    assert verdict.problem.startswith(
        "expected the servers to count what Perseus prints, found 100 of 600 reads in 3 rows"
    )
    assert verdict.kinds["read"] == {"answered": 33.3, "failed": 0.0, "unanswered": 166.7}


def test_other_clients_may_load_the_servers_too() -> None:
    assert judge(window(THREE, client_write_success=3000, client_read_success=6000), THREADS, 0.25).problem == ""


def test_reads_of_others_do_not_confirm_the_writes_of_this_client() -> None:
    assert "0 of 300 writes" in judge(window(THREE, client_read_success=90_000), THREADS, 0.25).problem


def test_a_workload_with_threads_must_count() -> None:
    verdict = judge(window(THREE, client_write_success=300, client_read_success=600), {**THREADS, "udf": 4}, 0.25)
    assert "found 0 in 3 rows for udf (4 threads)" in verdict.problem


def test_a_workload_without_threads_must_not_count_in_the_last_row() -> None:
    moving = judge(window(THREE, client_read_success=900), threads(read=2), 0.25)
    assert "expected 0 in each column without threads, found write 100" in moving.problem
    ended = [THREE[0], THREE[1], row(4, write=0, read=200)]
    assert judge(window(ended, client_read_success=900), threads(read=2), 0.25).problem == ""


@pytest.mark.parametrize("count", [0, 1])
def test_a_workload_that_the_edition_refuses_is_not_required(count: int) -> None:
    """Perseus stops its threads at the first error and starts them every second, so it counts something or nothing."""
    refused = rows(write=100, delete=count)
    counters = {"client_write_success": 300, "client_delete_error": 3 * count}
    assert judge(window(refused, **counters), threads(write=1, delete=2), 0.25, ["delete"]).problem == ""
    assert "delete (2 threads)" in judge(window(refused, **counters), threads(write=1, delete=2), 0.25).problem


def test_a_batch_counts_as_its_records() -> None:
    batches, load = rows(200, batchRead=4), threads(batchRead=1)
    verdict = judge(window(batches, batch_sub_read_success=2400), load, 0.25)
    assert (verdict.problem, verdict.records, verdict.operations) == ("", 800.0, 4.0)
    assert judge(window(batches, batch_sub_read_success=500), load, 0.25).problem != ""
    # One batch per thread may be counted before the window and printed in it.
    assert judge(window(batches, batch_sub_read_success=1600), load, 0.25).problem == ""


def test_a_batch_record_that_is_sent_alone_counts_for_its_batch() -> None:
    """Clients send a batch's part for a node as a single operation if it has one record only."""
    load = threads(batchWrite=1, write=1)
    mixed = rows(100, batchWrite=10, write=50)
    counters = {"batch_sub_write_success": 1000, "client_write_success": 2150}
    verdict = judge(window(mixed, **counters), load, 0.25)
    assert (verdict.problem, verdict.kinds["batch_write"]["unanswered"]) == ("", 0.0)
    alone = rows(100, batchWrite=10)
    assert judge(window(alone, client_write_success=3000), threads(batchWrite=1), 0.25).problem == ""
    refused = judge(window(alone, client_write_error=3000, client_write_success=3), threads(batchWrite=1), 0.25)
    assert "expected batchWrite (1 thread) to succeed, found 1,000 failed and 0 answered" in refused.problem
    assert (
        "200 of 3,000 batch writes"
        in judge(window(alone, client_write_success=200), threads(batchWrite=1), 0.25).problem
    )


def test_a_query_is_counted_on_each_node_and_never_required() -> None:
    searched = [row(number, write=10, rangeQuery=0) for number in (2, 3, 4)]
    load = threads(write=1, rangeQuery=1, numericSearch=1)
    verdict = judge(window(searched, client_write_success=30, si_query_long_basic_complete=30), load, 0.25)
    assert verdict.problem == ""
    assert verdict.answered == 13.3  # 30 writes and 30 / 3 queries in 3 seconds
    assert len(verdict.warnings) == 2


def test_no_load_is_ready_if_none_is_requested() -> None:
    assert judge(window(rows(write=0), client_write_success=0), threads(), 0.25).problem == ""


def test_without_a_threads_file_rows_of_zero_are_not_ready() -> None:
    assert "3 rows of 0" in judge(window(rows(write=0), client_write_success=0), {}, 0.25).problem


def test_without_a_threads_file_each_column_that_counts_must_succeed() -> None:
    problem = judge(window(rows(write=100), client_write_error=300), {}, 0.25).problem
    assert problem.startswith("expected write to succeed, found 100 failed and 0 answered writes")
    assert judge(window(rows(write=100), client_write_success=300), {}, 0.25).problem == ""


def test_smaller_counters_mean_a_restart() -> None:
    verdict = judge(window(THREE, client_write_success=-500), THREADS, 0.25)
    assert "a node was restarted" in verdict.problem
    assert (verdict.operations, verdict.kinds) == (300.0, {})


def test_every_workload_belongs_to_one_kind_and_every_counter_to_one_outcome() -> None:
    assert sorted(name for kind in proof.KINDS.values() for name in kind.workloads) == sorted(WORKLOADS)
    assert len(set(proof.COUNTERS)) == len(proof.COUNTERS)
    assert set(Verdict().result()) == {"operations_per_second", "records_per_second", "workloads", "servers"}
