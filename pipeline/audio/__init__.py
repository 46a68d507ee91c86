"""Bytes of one recording -> blocks of samples -> chunks at 24 kHz. Knows no source and no run."""
