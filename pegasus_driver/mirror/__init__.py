"""The artifact mirror: what to fetch, and fetching it."""
