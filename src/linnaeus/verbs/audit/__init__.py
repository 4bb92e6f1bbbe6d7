"""audit: say of every file found whether it is used, or why not, and what else is doubtful about pictures and labels."""

from linnaeus.verbs.audit.balance import find_imbalance
from linnaeus.verbs.audit.copies import Copies, find_copies
from linnaeus.verbs.audit.drift import find_drift
from linnaeus.verbs.audit.enough import enough
from linnaeus.verbs.audit.files import account, audit
from linnaeus.verbs.audit.grown import opinions_on
from linnaeus.verbs.audit.labels import audit_labels
from linnaeus.verbs.audit.quality import find_odd
from linnaeus.verbs.audit.shortcuts import find_shortcuts

__all__ = [
    "Copies",
    "account",
    "audit",
    "audit_labels",
    "enough",
    "find_copies",
    "find_drift",
    "find_imbalance",
    "find_odd",
    "find_shortcuts",
    "opinions_on",
]
