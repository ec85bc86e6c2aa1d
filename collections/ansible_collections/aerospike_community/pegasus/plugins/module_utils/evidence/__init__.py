"""What a run leaves: its figures and its report."""
