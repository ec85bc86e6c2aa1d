"""The parameters that a server accepts at run time (info command set-config), by context and release.

One line per parameter and, if a release added or removed it, `since=7.0` or `until=7.0`. Source: the public source of
Community Edition 6.4.0.34, 7.1.0.23, 7.2.0.17, 8.0.0.15 and 8.1.0.3.
"""

_TEXT = {
    "service": """
advertise-ipv6
batch-index-threads
batch-max-buffers-per-queue
batch-max-requests since=7.0
batch-max-unused-buffers
cluster-name
downgrading until=7.0
enable-benchmarks-fabric
enable-health-check
enable-hist-info
info-max-ms
info-threads
microsecond-histograms
migrate-fill-delay
migrate-max-num-incoming
migrate-threads
min-cluster-size
proto-fd-idle-ms
proto-fd-max
query-max-done
query-threads-limit
service-threads
sindex-builder-threads
sindex-gc-period
ticker-interval
tls-refresh-period since=7.0
transaction-max-ms
transaction-retry-ms
vault-token-file
""",
    "network": """
fabric.channel-bulk-recv-threads
fabric.channel-ctrl-recv-threads
fabric.channel-meta-recv-threads
fabric.channel-rw-recv-threads
fabric.recv-rearm-threshold
fabric.stop-commit-one until=7.0
heartbeat.connect-timeout-ms
heartbeat.interval
heartbeat.mtu
heartbeat.protocol
heartbeat.timeout
""",
    "namespace": """
active-rack since=7.2
allow-ttl-without-nsup
apply-ttl-reductions since=8.1
background-query-max-rps
cache-replica-writes
check-single-bin until=7.0
compression
compression-acceleration
compression-level
conflict-resolution-policy
conflict-resolve-writes
convert-single-bin until=7.0
default-read-touch-ttl-pct since=7.0
default-ttl
defrag-lwm-pct
defrag-queue-min
defrag-sleep
disable-mrt-writes since=8.0
disable-write-dup-res
disallow-expunge
disallow-null-setname
enable-benchmarks-batch-sub
enable-benchmarks-ops-sub
enable-benchmarks-read
enable-benchmarks-storage
enable-benchmarks-udf
enable-benchmarks-udf-sub
enable-benchmarks-write
enable-hist-proxy
evict-hist-buckets
evict-indexes-memory-pct since=7.0
evict-tenths-pct
evict-used-pct since=7.0
flush-max-ms
flush-size since=7.0
force-long-queries
geo2dsphere-within-max-cells
geo2dsphere-within-max-level
geo2dsphere-within-min-level
high-water-disk-pct until=7.0
high-water-memory-pct until=7.0
ignore-migrate-fill-delay
index-type.evict-mounts-pct since=7.0
index-type.mounts-budget since=7.0
indexes-memory-budget since=7.0
inline-short-queries
max-record-size
max-used-pct until=7.0
max-write-cache
memory-size until=7.0
migrate-order
migrate-retransmit-ms
migrate-skip-unreadable since=7.0
migrate-sleep
min-avail-pct until=7.0
mounts-high-water-pct until=7.0
mounts-size-limit until=7.0
mrt-duration since=8.0
nsup-hist-period
nsup-period
nsup-threads
post-write-cache since=7.0
post-write-queue until=7.0
prefer-uniform-balance
rack-id
read-consistency-level-override
read-page-cache
reject-non-xdr-writes
reject-xdr-writes
replication-factor
sindex-type.evict-mounts-pct since=7.0
sindex-type.mounts-budget since=7.0
sindex-type.mounts-high-water-pct until=7.0
sindex-type.mounts-size-limit until=7.0
single-query-threads
stop-writes-avail-pct since=7.0
stop-writes-pct until=7.0
stop-writes-sys-memory-pct
stop-writes-used-pct since=7.0
strong-consistency-allow-expunge
tomb-raider-eligible-age
tomb-raider-period
tomb-raider-sleep
transaction-pending-limit
truncate-threads
write-commit-level-override
xdr-bin-tombstone-ttl
xdr-tomb-raider-period
xdr-tomb-raider-threads
""",
    "set": """
default-read-touch-ttl-pct since=7.0
default-ttl since=7.0
disable-eviction
enable-index
stop-writes-count
stop-writes-size
""",
}


def dynamic(release: tuple[int, ...]) -> dict[str, set[str]]:
    """The parameters by context. Those of the storage engine are listed with the namespace's."""
    found: dict[str, set[str]] = {}
    for context, text in _TEXT.items():
        found[context] = set()
        for line in filter(None, text.splitlines()):
            name, *marks = line.split()
            limits = dict(mark.split("=") for mark in marks)
            since, until = (
                tuple(int(part) for part in limits.get(key, "").split(".") if part) for key in ("since", "until")
            )
            if release >= since and (not until or release < until):
                found[context].add(name)
    return found
