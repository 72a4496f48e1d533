"""Mitigations: changes of a recipe that make a failure mode less likely, each by the settings that it needs."""
