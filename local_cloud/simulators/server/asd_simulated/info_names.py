"""Statistics that the simulator doesn't maintain: they are 0, because nothing of their kind happens here.

A release has its own: `|since=8.0` marks the first with the name, `|until=7.2` the first without it. Source: the public
source of Community Edition 6.4.0.34, 7.1.0.23, 7.2.0.17, 8.0.0.15, 8.1.0.3 and 8.1.2.0; 7.0 is assumed to equal 7.1.
"""

import functools

_NODE = """
batch_index_created_buffers batch_index_destroyed_buffers batch_index_huge_buffers
batch_index_proto_compression_ratio batch_index_proto_uncompressed_pct batch_index_unused_buffers
early_tsvc_batch_sub_error|until=7.2 early_tsvc_from_proxy_batch_sub_error early_tsvc_from_proxy_error
early_tsvc_ops_sub_error|until=7.2 early_tsvc_udf_sub_error|until=7.2 fabric_bulk_recv_rate
fabric_bulk_send_rate fabric_ctrl_recv_rate fabric_ctrl_send_rate fabric_meta_recv_rate fabric_meta_send_rate
fabric_rw_recv_rate fabric_rw_send_rate
"""

_NAMESPACE = """
auto_revived_partitions|since=7.0 evict_void_time fail_mrt_blocked|since=8.0
fail_mrt_version_mismatch|since=8.0 fail_xdr_key_busy|since=7.2 fail_xdr_lost_conflict geo_region_query_cells
geo_region_query_falsepos geo_region_query_points migrate_records_unreadable|since=7.0
mrt_monitor_roll_back_error|since=8.0 mrt_monitor_roll_back_success|since=8.0
mrt_monitor_roll_back_timeout|since=8.0 mrt_monitor_roll_forward_error|since=8.0
mrt_monitor_roll_forward_success|since=8.0 mrt_monitor_roll_forward_timeout|since=8.0
mrt_monitor_roll_tombstone_creates|since=8.0 mrt_monitors|since=8.0 mrt_monitors_active|since=8.0
mrt_provisionals|since=8.0 mrt_roll_back_error|since=8.0 mrt_roll_back_success|since=8.0
mrt_roll_back_timeout|since=8.0 mrt_roll_forward_error|since=8.0 mrt_roll_forward_success|since=8.0
mrt_roll_forward_timeout|since=8.0 mrt_verify_read_error|since=8.0 mrt_verify_read_success|since=8.0
mrt_verify_read_timeout|since=8.0 nsup_xdr_key_busy|since=7.2 ops_sub_tsvc_error ops_sub_tsvc_timeout
ops_sub_write_error ops_sub_write_filtered_out ops_sub_write_success ops_sub_write_timeout
query_proto_compression_ratio query_proto_uncompressed_pct re_repl_error re_repl_timeout re_repl_tsvc_error
re_repl_tsvc_timeout read_touch_error|since=7.0 read_touch_skip|since=7.0 read_touch_timeout|since=7.0
read_touch_tsvc_error|since=7.0 read_touch_tsvc_timeout|since=7.0 record_proto_compression_ratio
record_proto_uncompressed_pct retransmit_all_batch_sub_delete_dup_res
retransmit_all_batch_sub_delete_repl_write retransmit_all_batch_sub_dup_res|until=7.2
retransmit_all_batch_sub_read_dup_res retransmit_all_batch_sub_read_repl_ping
retransmit_all_batch_sub_udf_dup_res retransmit_all_batch_sub_udf_repl_write
retransmit_all_batch_sub_write_dup_res retransmit_all_batch_sub_write_repl_write retransmit_all_delete_dup_res
retransmit_all_delete_repl_write retransmit_all_read_dup_res retransmit_all_read_repl_ping
retransmit_all_udf_dup_res retransmit_all_udf_repl_write retransmit_all_write_dup_res
retransmit_ops_sub_dup_res retransmit_ops_sub_repl_write retransmit_udf_sub_dup_res
retransmit_udf_sub_repl_write smd_evict_void_time ttl_reductions_applied|since=8.1
ttl_reductions_ignored|since=8.1 udf_sub_lang_delete_success udf_sub_lang_error udf_sub_lang_read_success
udf_sub_lang_write_success udf_sub_tsvc_error udf_sub_tsvc_timeout udf_sub_udf_complete udf_sub_udf_error
udf_sub_udf_filtered_out udf_sub_udf_timeout xdr_bin_cemeteries xdr_client_delete_not_found
xdr_from_proxy_delete_error xdr_from_proxy_delete_not_found xdr_from_proxy_delete_success
xdr_from_proxy_delete_timeout xdr_from_proxy_write_error xdr_from_proxy_write_success
xdr_from_proxy_write_timeout
"""

# Statistics that are maintained, and that older releases don't have.
_SINCE = {"effective_active_rack": (7, 2), "migrate_fresh_partitions": (7,), "read_touch_success": (7,)}


@functools.cache
def of_node(release: tuple[int, ...]) -> dict[str, object]:
    """The node's statistics that are always 0."""
    return _zeros(_NODE, release)


@functools.cache
def of_namespace(release: tuple[int, ...]) -> dict[str, object]:
    """A namespace's statistics that are always 0."""
    return _zeros(_NAMESPACE, release)


def known(values: dict[str, object], release: tuple[int, ...]) -> dict[str, object]:
    """Those of `values` that the release has."""
    return {name: value for name, value in values.items() if release >= _SINCE.get(name, ())}


def _zeros(text: str, release: tuple[int, ...]) -> dict[str, object]:
    found: dict[str, object] = {}
    for item in text.split():
        name, *marks = item.split("|")
        limits = {key: tuple(map(int, value.split("."))) for key, _, value in (mark.partition("=") for mark in marks)}
        if limits.get("since", ()) <= release < limits.get("until", (1000,)):
            found[name] = "1.000" if name.endswith("_ratio") else "0.000" if name.endswith("_uncompressed_pct") else 0
    return found
