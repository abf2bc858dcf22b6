"""Real-time streaming inference for polysomnography. Not a medical device."""

__version__ = "0.1.0"
