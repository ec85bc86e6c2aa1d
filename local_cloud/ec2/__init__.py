"""The EC2 API of the local cloud: moto with EC2's instance states, refusals and persistence."""
