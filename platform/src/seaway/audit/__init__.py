"""Whether everything that was accepted is accounted for.

Streams, durables, dead letters and what the services tell of their own records are laid side by
side; what does not match is a `Difference`. `reconcile` decides, and does nothing else;
`audited` asks everybody first. Operators and the fault tests use the same code. What it cannot
see is in docs/decisions/0010.
"""

from seaway.audit.asking import Unaskable, ask_services
from seaway.audit.auditing import Ask, Ledgers, audited, settled
from seaway.audit.difference import Difference, Kind, Report
from seaway.audit.reconciling import Reconciliation, Scene, reconcile
from seaway.audit.telling import fingerprint, telling
from seaway.audit.told import Told

__all__ = [
    "Ask",
    "Difference",
    "Kind",
    "Ledgers",
    "Reconciliation",
    "Report",
    "Scene",
    "Told",
    "Unaskable",
    "ask_services",
    "audited",
    "fingerprint",
    "reconcile",
    "settled",
    "telling",
]
