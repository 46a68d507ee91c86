"""What is taken for audio by its name."""

AUDIO_SUFFIXES = (
    *(".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc"),
    *(".m4a", ".mp4", ".aac", ".webm"),
)
"""What is taken for audio in a folder, a glob or a tar shard; a file named in a manifest or by itself is tried."""
