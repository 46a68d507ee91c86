"""The training of the bundled demo checkpoint."""
