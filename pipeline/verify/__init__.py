"""A run on disk -> what is wrong with it, mended or tried again."""
