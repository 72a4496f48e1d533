"""Who runs the calls."""
