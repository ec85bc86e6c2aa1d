"""The simulated packages of the local cloud's artifact mirror."""
