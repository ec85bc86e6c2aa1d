"""How a run is shown: live, plain lines, JSON."""
