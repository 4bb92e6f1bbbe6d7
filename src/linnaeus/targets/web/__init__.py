"""A page for the browser: one HTML file that classifies pictures and the camera, without a server and offline."""

from __future__ import annotations

from linnaeus.targets.web.target import Web

__all__ = ["Web"]
