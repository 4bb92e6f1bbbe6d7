"""review: show findings as pictures in the browser, and keep what a person decides about them."""

from __future__ import annotations

from linnaeus.verbs.review.cases import Case, cases_of, disagreements, notes_of
from linnaeus.verbs.review.desk import Desk
from linnaeus.verbs.review.server import Server, review

__all__ = ["Case", "Desk", "Server", "cases_of", "disagreements", "notes_of", "review"]
