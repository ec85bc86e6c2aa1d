"""One EC2 environment: plan, launch, removal, cost, preflight."""
