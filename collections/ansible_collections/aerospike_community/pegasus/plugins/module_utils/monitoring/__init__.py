# Copyright (c) Pegasus authors. SPDX-License-Identifier: Apache-2.0
"""Prometheus and Grafana: targets, rules, dashboards, annotations, archives."""
