"""Preference data that others have made: what their formats mean in prompts, responses and judgements."""
