"""Prometheus and Grafana: targets, rules, dashboards, annotations, archives."""
