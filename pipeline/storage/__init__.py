"""Locations and file systems: opening for reading, atomic writes, network retries."""
