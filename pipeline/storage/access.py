"""Settings -> how locations are opened: allowed schemes, time-out, retries."""

from dataclasses import dataclass

SCHEMES = ("file", "s3", "gs", "hf", "https", "http")
"""URI schemes that are allowed by default; the setting is `input.schemes`."""


@dataclass(frozen=True)
class Access:
    """How locations are opened: plain values from the settings."""

    schemes: tuple[str, ...] = SCHEMES
    timeout_s: float = 30.0  # of each wait for a server: to connect, for its answer, between two pieces of a body
    retries: int = 5  # after the first attempt


DEFAULT = Access()
