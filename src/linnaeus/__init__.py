"""Linnaeus: from a folder of pictures to an image classifier that you can trust and ship."""

__version__ = "0.1.0"
