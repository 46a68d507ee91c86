"""The size of blocks in the tests of this folder, see conftest.py."""

BLOCK_VALUES = 1 << 17
"""Samples times channels."""
