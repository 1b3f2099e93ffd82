"""Any program in any language, put through the promises that a service keeps.

The program runs as it is, against a broker of its own, and is watched from outside: what it says
to the broker about each delivery (`tap`), what it publishes, and how it ends. So it contains
nothing for this. It is made to wait and to fail by what it waits for itself (`obstacle`): the
broker's receipts for what it says, or a dependency before which we stand.
"""

from seaway.conformance.candidate import Candidate
from seaway.conformance.promise import Verdict
from seaway.conformance.trying import NAMES, PROMISES, tried

__all__ = ["NAMES", "PROMISES", "Candidate", "Verdict", "tried"]
