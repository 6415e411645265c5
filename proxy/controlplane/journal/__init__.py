"""The journal: what changed, why, and what it cost; kept in memory and in `state_dir`."""
