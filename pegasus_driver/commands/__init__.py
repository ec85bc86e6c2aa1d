"""Commands that need no playbook of their own."""
