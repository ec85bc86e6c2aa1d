"""The vocabulary of aerospike.conf: every parameter, by context, with its type and limits.

Long because it is one table with a line per parameter.

One line per parameter: `name type [limits] [E] [since=8.1] [until=8.1]`. `E` marks what the Community Edition refuses.
Types: bool, flag (a bool whose missing value means true), str, text N (shorter than N characters), u64, u32, u16, u8,
pow2 (an exact power of two), mult N, sec (seconds, with s, m, h or d), pct (0 to 100, or -1), port, hex, one|of|these,
open CONTEXT (begins a context), obsolete REASON. Limits are inclusive; sizes take K, M, G, T or P.

A name that changed its meaning has one line per meaning. Source: the behaviour of Community Edition 8.0.0.15 and
8.1.0.3, and the public source of 6.4.0.34, 7.1.0.23, 7.2.0.17, 8.0.0.15 and 8.1.0.3; 7.0 is assumed to equal 7.1.
"""

_STORAGE = """
commit-to-device bool E
compression none|lz4|snappy|zstd E
compression-acceleration u32 1 65537 E
compression-level u32 1 9 E
defrag-lwm-pct u32
defrag-queue-min u32
defrag-sleep u32
defrag-startup-minimum u32 0 99
direct-files bool
disable-odsync bool
enable-benchmarks-storage bool
encryption aes-128|aes-256 E
encryption-key-file str E
encryption-old-key-file str E
evict-used-pct u32 0 100 since=7.0
file file
filesize u64 128M 2T since=7.0
filesize u64 1M 2T until=7.0
flush-max-ms u64
max-write-cache u64 64M
stop-writes-avail-pct u32 0 100 since=7.0
stop-writes-used-pct u32 0 100 since=7.0
tomb-raider-sleep u32 E
max-used-pct obsolete since=7.0 please use 'stop-writes-used-pct' instead
min-avail-pct obsolete since=7.0 please use 'stop-writes-avail-pct' instead
max-used-pct u32 0 100 until=7.0
min-avail-pct u32 0 100 until=7.0
"""

_INDEX_MOUNTS = """
evict-mounts-pct u32 0 100 since=7.0
mount mount
mounts-high-water-pct obsolete since=7.0 please use 'evict-mounts-pct'
mounts-high-water-pct u32 0 100 until=7.0
mounts-size-limit obsolete since=7.0 please use 'mounts-budget'
"""

PARAMETERS = {
    "global": """
service open service
logging open logging
network open network
namespace open namespace
mod-lua open mod-lua
security open security E
xdr open xdr E
""",
    "service": """
advertise-ipv6 bool
auto-pin none|cpu|numa|adq
batch-index-threads u32 1 256
batch-max-buffers-per-queue u32
batch-max-requests u32 since=7.0
batch-max-unused-buffers u32
cluster-name cluster-name
debug-allocations bool since=7.0
disable-udf-execution bool
enable-benchmarks-fabric bool
enable-health-check bool
enable-hist-info bool
enforce-best-practices bool
feature-key-file str E
group group
indent-allocations bool
info-max-ms u64 500 10000
info-threads u32 1 256
keep-caps-ssd-health bool
log-local-time bool
log-millis bool
microsecond-histograms bool
migrate-fill-delay sec E
migrate-max-num-incoming u32 0 256
migrate-threads u32 0 100
min-cluster-size u32 0 256
node-id hex
node-id-interface str
os-group-perms bool
pidfile str
poison-allocations bool since=7.0
proto-fd-idle-ms u32
proto-fd-max u32 1024 2M
quarantine-allocations u32 0 100000000 since=7.0
query-max-done u32 0 10000
query-threads-limit u32 1 1024
run-as-daemon flag
secrets-address-port str E
secrets-tls-context str E
secrets-uds-path str E
service-threads u32 1 4096
sindex-builder-threads u32 1 32
sindex-gc-period u32
stay-quiesced bool E
ticker-interval u32
tls-refresh-period sec E since=7.0
transaction-max-ms u64
transaction-retry-ms u32
user user
vault-ca str E
vault-namespace str E
vault-path str E
vault-token-file str E
vault-url str E
work-directory str
allow-inline-transactions obsolete please configure 'service-threads' carefully
nsup-period obsolete please use namespace context 'nsup-period'
object-size-hist-period obsolete please use namespace context 'nsup-hist-period'
respond-client-on-master-completion obsolete please use namespace context 'write-commit-level-override'
scan-max-done obsolete please use 'query-max-done'
scan-threads-limit obsolete please use 'query-threads-limit'
transaction-pending-limit obsolete please use namespace context 'transaction-pending-limit'
transaction-queues obsolete please configure 'service-threads' carefully
transaction-repeatable-read obsolete please use namespace context 'read-consistency-level-override'
transaction-threads-per-queue obsolete please configure 'service-threads' carefully
debug-allocations all|none|persistent|transient until=7.0
salt-allocations bool until=7.0
""",
    "logging": """
console open log-sink
file open log-sink
syslog open log-syslog
""",
    "log-sink": """
context log-level
""",
    "log-syslog": """
context log-level
facility str
path str
tag str
""",
    "network": """
service open network-service
admin open network-admin since=8.1
heartbeat open heartbeat
fabric open fabric
info open info
tls open tls E
""",
    "network-service": """
access-address address
access-port port
address address
alternate-access-address address
alternate-access-port port
disable-localhost bool
port port
tls-access-address address E
tls-access-port port E
tls-address address E
tls-alternate-access-address address E
tls-alternate-access-port port E
tls-authenticate-client str E
tls-name str E
tls-port port E
alternate-address obsolete until=8.1 see the documentation of the network section
external-address obsolete please use 'access-address'
network-interface-name obsolete until=8.1 see the documentation of the network section
""",
    "network-admin": """
address address
disable-localhost bool
port port
tls-address address E
tls-authenticate-client str E
tls-name str E
tls-port port E
""",
    "heartbeat": """
address address
connect-timeout-ms u32 50
interval u32 50 600000
mesh-seed-address-port seed
mode mesh|multicast
mtu u32
multicast-group address
multicast-ttl u8
port port
protocol none|v3
timeout u32 3
tls-address address E
tls-mesh-seed-address-port seed
tls-name str E
tls-port port E
interface-address obsolete until=8.1 see the documentation of the network section
mcast-ttl obsolete please use 'multicast-ttl'
""",
    "fabric": """
address address
channel-bulk-fds u32 1 128
channel-bulk-recv-threads u32 1 128
channel-ctrl-fds u32 1 128
channel-ctrl-recv-threads u32 1 128
channel-meta-fds u32 1 128
channel-meta-recv-threads u32 1 128
channel-rw-fds u32 1 128
channel-rw-recv-pools u32 1 16
channel-rw-recv-threads u32 1 128
keepalive-enabled bool
keepalive-intvl u32
keepalive-probes u32
keepalive-time u32
latency-max-ms u32 0 1000
port port
recv-rearm-threshold u32 0 1M
send-threads u32 1 128
tls-address address E
tls-name str E
tls-port port E
""",
    "info": """
address address until=8.1
port port until=8.1
""",
    "tls": """
ca-file str
ca-path str
cert-blacklist str
cert-file str
cipher-suite str
key-file str
key-file-password str
pki-user-append-ou bool since=8.1
protocols str
""",
    "namespace": """
active-rack u32 0 1000000 E since=7.2
allow-ttl-without-nsup bool
apply-ttl-reductions bool since=8.1
auto-revive bool E since=7.0
background-query-max-rps u32 1 1000000
conflict-resolution-policy generation|last-update-time
conflict-resolve-writes bool E
default-read-touch-ttl-pct u32 0 100 since=7.0
default-ttl sec 0 315360000
disable-cold-start-eviction bool
disable-mrt-writes bool E since=8.0
disable-write-dup-res bool
disallow-expunge bool E
disallow-null-setname bool
enable-benchmarks-batch-sub bool
enable-benchmarks-ops-sub bool
enable-benchmarks-read bool
enable-benchmarks-udf bool
enable-benchmarks-udf-sub bool
enable-benchmarks-write bool
enable-hist-proxy bool
evict-hist-buckets u32 100 10000000
evict-indexes-memory-pct u32 0 100 since=7.0
evict-tenths-pct u32
ignore-migrate-fill-delay bool E
index-stage-size pow2 128M 1G
indexes-memory-budget u64 since=7.0
inline-short-queries bool
max-record-size u32 64 8M since=8.0
max-record-size u32 0 8M since=7.0 until=8.0
max-record-size u32 until=7.0
migrate-order u32 1 10
migrate-retransmit-ms u32
migrate-skip-unreadable bool since=7.0
migrate-sleep u32
mrt-duration sec 1 120 E since=8.0
nsup-hist-period sec
nsup-period sec
nsup-threads u32 1 128
partition-tree-sprigs pow2 256 256M
prefer-uniform-balance bool E
rack-id u32 0 1000000 E
read-consistency-level-override all|off|one
reject-non-xdr-writes bool
reject-xdr-writes bool
replication-factor replication-factor
sindex-stage-size pow2 128M 4G
single-query-threads u32 1 128
stop-writes-sys-memory-pct u32 0 100
strong-consistency bool E
strong-consistency-allow-expunge bool E
tomb-raider-eligible-age sec E
tomb-raider-period sec E
transaction-pending-limit u32
truncate-threads u32 1 128
write-commit-level-override all|master|off
xdr-bin-tombstone-ttl sec 0 315360000 E
xdr-tomb-raider-period sec E
xdr-tomb-raider-threads u32 1 128 E
geo2dsphere-within open geo2dsphere
index-type index-type E
set open set
sindex-type index-type E
storage-engine storage-engine
background-scan-max-rps obsolete please use 'background-query-max-rps'
data-in-index obsolete see documentation for converting to multi-bin
disable-nsup obsolete please set 'nsup-period' to 0 to disable nsup
evict-sys-memory-pct obsolete since=7.0 please use 'evict-indexes-memory-pct' and 'evict-used-pct'
high-water-disk-pct obsolete since=7.0 please use storage context 'evict-used-pct'
high-water-memory-pct obsolete since=7.0 please use 'evict-indexes-memory-pct' and storage context 'evict-used-pct'
memory-size obsolete since=7.0 please use 'stop-writes-sys-memory-pct' and storage context 'evict-used-pct'
single-bin obsolete see documentation for converting to multi-bin
single-scan-threads obsolete please use 'single-query-threads'
stop-writes-pct obsolete since=7.0 please use 'stop-writes-sys-memory-pct'
convert-single-bin bool until=7.0
high-water-disk-pct u32 0 100 until=7.0
high-water-memory-pct u32 0 100 until=7.0
memory-size u64 1M until=7.0
stop-writes-pct u32 0 100 until=7.0
""",
    "storage-memory": _STORAGE
    + """
data-size data-size
device device
flush-size pow2 4K 8M
""",
    "storage-pmem": _STORAGE,
    "storage-device": _STORAGE
    + """
cache-replica-writes bool
cold-start-empty bool
device device
flush-size pow2 4K 8M since=7.0
post-write-cache u64 since=7.0
read-page-cache bool
serialize-tomb-raider bool E
sindex-startup-device-scan bool
data-in-memory obsolete since=7.0 please use 'storage-engine memory' to store data in memory
disable-odirect obsolete please use 'read-page-cache' instead
fsync-max-sec obsolete please use 'flush-files' instead
post-write-queue obsolete since=7.0 please use 'post-write-cache' and perhaps 'max-record-size'
write-block-size obsolete since=7.0 please use 'flush-size' and 'post-write-cache' and perhaps 'max-record-size'
commit-min-size pow2 0 8M E until=7.0
data-in-memory bool until=7.0
post-write-queue u32 0 4K until=7.0
write-block-size pow2 1K 8M until=7.0
""",
    "index-type-flash": _INDEX_MOUNTS + "mounts-budget u64 4G since=7.0\nmounts-size-limit u64 4G until=7.0\n",
    "index-type-pmem": _INDEX_MOUNTS + "mounts-budget u64 1G since=7.0\nmounts-size-limit u64 1G until=7.0\n",
    "sindex-type-flash": _INDEX_MOUNTS + "mounts-budget u64 1G since=7.0\nmounts-size-limit u64 1G until=7.0\n",
    "sindex-type-pmem": _INDEX_MOUNTS + "mounts-budget u64 1G since=7.0\nmounts-size-limit u64 1G until=7.0\n",
    "set": """
default-read-touch-ttl-pct pct since=7.0
default-ttl sec since=7.0
disable-eviction bool
enable-index bool
stop-writes-count u64
stop-writes-size u64
""",
    "geo2dsphere": """
strict bool
min-level u16 0 30
max-level u16 0 30
max-cells u16 1 256
level-mod u16 1 3
earth-radius-meters u32
""",
    "mod-lua": """
cache-enabled bool
user-path text 256
""",
    "security": """
default-password-file str since=7.0
enable-quotas bool
privilege-refresh-period sec 10 86400
session-ttl sec 120 864000
tps-weight u32 2 20
ldap open ldap
log open security-log
enable-ldap obsolete the 'ldap' context automatically enables LDAP
enable-security obsolete the 'security' context automatically enables security
syslog obsolete please use a logging context 'syslog' log sink
""",
    "ldap": """
disable-tls bool
login-threads u32 1 64
polling-period sec 0 86400
query-base-dn str
query-user-dn str
query-user-password-file str
role-query-base-dn str
role-query-pattern str
role-query-search-ou bool
server str
tls-ca-file str
token-hash-method sha-256|sha-512
user-dn-pattern str
user-query-pattern str
""",
    "security-log": """
report-authentication bool
report-data-op str
report-data-op-role str
report-data-op-user str
report-sys-admin bool
report-user-admin bool
report-violation bool
""",
    "xdr": """
src-id u8 1 255
dc open xdr-dc
""",
    "xdr-dc": """
auth-mode none|internal|external|external-insecure|pki
auth-password-file str
auth-user text 64
connector bool
max-recoveries-interleaved u32
node-address-port str
period-ms u32 5 1000
tls-name str
use-alternate-access-address bool
namespace open xdr-dc-namespace
""",
    "xdr-dc-namespace": """
bin-policy all|no-bins|only-changed|changed-and-specified|changed-or-specified
compression-level u32 1 9
compression-threshold u32 128
delay-ms u32 0 5000
enable-compression bool
forward bool
hot-key-ms u32 0 5000
ignore-bin text 16
ignore-expunges bool
ignore-set text 64
max-throughput mult 100
remote-namespace text 32
sc-replication-wait-ms u32 5 1000
ship-bin text 16
ship-bin-luts bool
ship-nsup-deletes bool
ship-only-specified-sets bool
ship-set text 64
ship-versions-interval sec since=7.2
ship-versions-policy latest|all|interval since=7.2
transaction-queue-limit pow2 1024 1M
write-policy auto|update|replace
""",
}
