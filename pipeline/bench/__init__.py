"""Benchmarks beside what else there is: of reading, and of all from files to codes."""
