"""A run -> the files that trainers read: `export_run`. One file a format; formats.py is their table."""
