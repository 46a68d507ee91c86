"""A run on disk -> one page that shows what it holds, where its time went and how it sounds."""
