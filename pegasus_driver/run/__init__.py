"""One playbook run and its events."""
