"""Waveforms to features and back."""

from syntone.features.front_end import FrontEnd

__all__ = ["FrontEnd"]
