# Install Prometheus and Grafana, and wait until every target is up and every dashboard exists.
download "$grafana_package" "$stack_archive"
curl -fsS -o "$work/plugin.zip" "$plugin_archive"
install_packages "$work/${grafana_package##*/}" prometheus prometheus-node-exporter
tar -xf - -C /
mkdir -p /var/lib/grafana/plugins /etc/grafana/aerospike
python3 -m zipfile -e "$work/plugin.zip" /var/lib/grafana/plugins
tar -xzf "$work/${stack_archive##*/}" -C /etc/grafana/aerospike --strip-components=4 --wildcards '*/config/grafana/dashboards/*'
find /etc/grafana/aerospike -name '*.json' -exec \
    sed -i 's/${DS_AEROSPIKE_PROMETHEUS}/pegasus-prometheus/g; s/${DS_EXPRESSION}/__expr__/g' {} +
echo "$stack_archive" >/etc/grafana/aerospike/source.txt
systemctl daemon-reload
systemctl -q enable --now prometheus-node-exporter prometheus grafana-server
targets_up() {
    local up
    up=$(curl -fs 'http://127.0.0.1:9090/api/v1/targets?state=active' | grep -o '"health":"up"' | wc -l) && ((up == targets))
}
wait_for targets_up
for dashboard in $dashboards; do
    wait_for curl -fs -o /dev/null -u "$grafana_login" "http://127.0.0.1:3000/api/dashboards/uid/$dashboard"
done
