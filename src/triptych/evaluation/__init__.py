"""Panel 2: judges and verifiers."""
