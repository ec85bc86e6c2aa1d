"""Instances as containers: compares EC2's state with the container engine and acts on the difference."""
