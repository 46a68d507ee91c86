"""A run on disk: its layout, run.json, its lock, writing and reading of its parts."""
