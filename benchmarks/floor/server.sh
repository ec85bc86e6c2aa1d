# A server node with its exporters: waits until it is in a stable cluster of the requested size.
download "$server_archive" "$exporter_package"
tar -xzf "$work/${server_archive##*/}" -C "$work" --strip-components=1
install_packages "$work"/*.deb prometheus-node-exporter
tar -xf - -C /
# A container refuses most of these settings. Pegasus ignores that too.
sysctl -q -p /etc/sysctl.d/90-aerospike.conf >/dev/null 2>&1 || true
systemd-tmpfiles --create /etc/tmpfiles.d/aerospike.conf >/dev/null 2>&1 || true
systemctl daemon-reload
systemctl -q enable --now aerospike aerospike-prometheus-exporter prometheus-node-exporter
wait_for in_cluster 127.0.0.1
query 127.0.0.1 namespaces
[[ $answer == *"$namespace"* ]]
