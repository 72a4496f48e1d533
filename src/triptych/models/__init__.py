"""Talking to language models: endpoints, the embedded model, limits, retries, prices, memoised calls."""
