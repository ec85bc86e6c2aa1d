"""What a run leaves behind: its figures and its report."""
