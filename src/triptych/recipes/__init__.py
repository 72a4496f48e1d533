"""The recipe as a value, and the published methods as YAML."""
