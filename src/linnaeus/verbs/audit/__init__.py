"""audit: say of every file found whether it is used, or why not, and which pictures are copies of each other."""

from linnaeus.verbs.audit.copies import Copies, find_copies, leaks
from linnaeus.verbs.audit.files import account, audit

__all__ = ["Copies", "account", "audit", "find_copies", "leaks"]
