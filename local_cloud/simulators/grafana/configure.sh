# SIMULATED Grafana: part of postinst. Creates the account and sets the owners of its folders.
if ! getent group grafana >/dev/null; then groupadd --system grafana; fi
if ! getent passwd grafana >/dev/null; then
  useradd --system --gid grafana --home-dir /usr/share/grafana --no-create-home --shell /usr/sbin/nologin grafana
fi
chown -R root:grafana /etc/grafana
chown -R grafana:grafana /var/lib/grafana /var/log/grafana
