"""Real, clean data with faults planted in it at known strength, by code that knows nothing of how they are looked for."""
