"""The audit: what a run's tables, or anyone's preference data, show about themselves."""
