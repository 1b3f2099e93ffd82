"""What this service counts."""

from prometheus_client import Counter

EMAILS = Counter(
    "seaway_emails_total",
    "Outcomes dealt with, once each, by what was done: greeting, notice, notice_suppressed …",
    ("outcome",),
)
AMBIGUOUS = Counter(
    "seaway_emails_ambiguous_total",
    "Mails found reserved and not recorded: they may have been sent before. resend or park.",
    ("action",),
)
FAILURES = Counter(
    "seaway_smtp_failures_total",
    "Mails not sent, or nobody knows: away, deferred, refused or unconfirmed.",
    ("reason",),
)
