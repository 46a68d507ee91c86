"""What is taken for audio by its name."""

AUDIO_SUFFIXES = (
    *(".wav", ".wave", ".flac", ".ogg", ".oga", ".spx", ".opus", ".mp3", ".mp2", ".aiff", ".aif", ".aifc"),
    *(".m4a", ".m4b", ".mp4", ".mov", ".3gp", ".aac", ".webm", ".mka", ".mkv", ".wma", ".avi", ".mpg", ".mpeg", ".ts"),
    *(".sph", ".au", ".snd", ".caf", ".w64", ".wv", ".amr", ".awb"),
)
"""What is taken for audio in a folder, a glob or an archive; a file named in a manifest or by itself is tried."""
