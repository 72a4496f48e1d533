"""The call log and the tables of a run on disk."""
