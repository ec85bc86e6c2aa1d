# A client: builds Perseus from its repository, starts it when all nodes are clustered, and waits for rows with counts.
apt-get -qq -o APT::Sandbox::User=root -o Acquire::Languages=none update # the image has no package lists, and not all of these packages
install_packages git python3 logrotate prometheus-node-exporter
git clone -q "$repository" /opt/perseus/source
(cd /opt/perseus/source && git checkout -q "$commit" && $build_command >/dev/null)
install -m 0644 "/opt/perseus/source/$artifact" /opt/perseus/perseus.jar
useradd --system --user-group --no-create-home --home-dir /var/lib/perseus --shell /usr/sbin/nologin perseus
tar -xf - -C /
chown perseus:perseus /var/lib/perseus
mkdir -p /var/log/perseus
sum=$(sha256sum /opt/perseus/perseus.jar)
sed -i "s/\"sha256\": \"[0-9a-f]*\"/\"sha256\": \"${sum%% *}\"/" /opt/perseus/perseus.jar.json
systemctl daemon-reload
systemctl -q enable --now prometheus-node-exporter perseus-exporter logrotate.timer
systemctl restart logrotate.timer
for server in $servers; do wait_for in_cluster "$server"; done
systemctl -q enable --now perseus
# As many rows as Pegasus checks: the first row of its window, and the rows that it compares.
rows_with_counts() {
    local rows
    rows=$(grep -cE '^\| [0-9]+ .*\| *[1-9][0-9]* *\|$' /var/log/perseus/perseus.log) && ((rows > ready_rows))
}
wait_for rows_with_counts
