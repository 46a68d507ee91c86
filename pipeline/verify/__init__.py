"""A run on disk -> its problems; repair, and retries of failures."""
