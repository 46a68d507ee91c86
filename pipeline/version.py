"""The version of the code that is here: it may run where it travelled to, and not where it was installed."""

__version__ = "0.1.0"
