"""A corpus's own manifest -> one table: paths, ids, bounds, channels, and the columns that travel."""
