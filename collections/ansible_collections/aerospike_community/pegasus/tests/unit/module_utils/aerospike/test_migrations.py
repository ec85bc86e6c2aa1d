"""The one definition of partition migrations."""

from __future__ import annotations

from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.health import Statistics
from ansible_collections.aerospike_community.pegasus.plugins.module_utils.aerospike.migrations import Migrations, count


def node(**namespaces: tuple[int, int, int]) -> Statistics:
    """A node's namespaces: partitions that it sends, those that it receives, records that it has sent."""
    names = ("migrate_tx_partitions_remaining", "migrate_rx_partitions_remaining", "migrate_records_transmitted")
    return Statistics(
        # The sum of both, as the real server reports it.
        {"migrate_partitions_remaining": str(sum(tx + rx for tx, rx, _ in namespaces.values()))},
        {name: dict(zip(names, map(str, values), strict=True)) for name, values in namespaces.items()},
    )


def test_a_migration_counts_once_where_it_is_sent() -> None:
    nodes = {"a": node(one=(3, 0, 10), two=(1, 2, 5)), "b": node(one=(0, 3, 0), two=(2, 1, 7)), "c": node()}
    assert count(nodes) == Migrations(left=6, by_node={"a": 4, "b": 2}, activity=22)
    assert sum(int(node.node["migrate_partitions_remaining"]) for node in nodes.values()) == 12


def test_what_a_silent_node_has_to_send_is_counted_by_its_receivers() -> None:
    assert count({"b": node(one=(0, 3, 0))}).left == 3


def test_records_sent_again_are_no_movement() -> None:
    values = {
        "migrate_tx_partitions_remaining": "3",
        "migrate_record_retransmits": "99",
        "migrate_record_receives": "9",
    }
    assert count({"a": Statistics(namespaces={"one": values})}) == Migrations(3, {"a": 3}, 0)


def test_the_unit() -> None:
    assert [str(Migrations(left)) for left in (0, 1, 2726)] == [
        "0 partition migrations", "1 partition migration", "2,726 partition migrations"
    ]  # fmt: skip
