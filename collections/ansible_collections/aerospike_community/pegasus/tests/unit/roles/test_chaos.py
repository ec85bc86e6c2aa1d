"""The role chaos, run by ansible-playbook on a host without a server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

COLLECTIONS = Path(__file__).resolve().parents[6]
APPROVAL = {"approved": ["127.0.9.1"], "members": ["127.0.9.1", "127.0.9.2"], "accepted": False}
# As in remove-node.yml: the host that drained a node may be the node's own host.
PLAYBOOK = """
- name: Stop a node from the host that drained it
  hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - name: Keep the approval of the drain
      ansible.builtin.set_fact:
        chaos_gate: "{{ approval }}"
    - name: Stop the node
      block:
        - name: Stop the node
          ansible.builtin.include_role:
            name: aerospike_community.pegasus.chaos
          vars:
            chaos_approval: "{{ chaos_gate }}"
      rescue:
        - name: Keep what the role has registered
          ansible.builtin.copy:
            content: "{{ {'gate': chaos_gate, 'message': ansible_failed_result.msg} | to_json }}"
            dest: "{{ playbook_dir }}/result.json"
            mode: "0600"
"""
VARIABLES = {
    "approval": APPROVAL,
    "chaos_action": "stop",
    "chaos_nodes": [1],
    "chaos_index": 1,
    "chaos_service": "pegasus-no-such-service",
    "chaos_cluster": [
        {"name": "node-1", "index": 1, "address": "127.0.9.1"},
        {"name": "node-2", "index": 2, "address": "127.0.9.2"},
    ],
}


@pytest.mark.slow
def test_the_approval_of_a_drain_survives_the_stop_on_the_same_host(tmp_path: Path) -> None:
    """The recount needs it, and so does the stop itself: without it, the removal of node 1 always failed."""
    book = tmp_path / "play.yml"
    book.write_text(PLAYBOOK)
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")},
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "ANSIBLE_LOCAL_TEMP": str(tmp_path / "ansible"),
        "ANSIBLE_LOCALHOST_WARNING": "False",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "False",
    }
    program = Path(sys.executable).with_name("ansible-playbook")
    command = [program, str(book), "-e", json.dumps(VARIABLES)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["gate"] == APPROVAL
    assert "approval of the gate" not in result["message"]
