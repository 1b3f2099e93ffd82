"""What this service counts."""

from prometheus_client import Counter

EMAILS = Counter(
    "seaway_emails_total",
    "Outcomes dealt with, once each; `outcome` greeting, notice, notice_suppressed,"
    " greeting_stale or no_mail.",
    ("outcome",),
)
AMBIGUOUS = Counter(
    "seaway_emails_ambiguous_total",
    "Mails that may have been sent before: reserved and not recorded; `action` resend or park.",
    ("action",),
)
FAILURES = Counter(
    "seaway_smtp_failures_total",
    "Mails not sent; `reason` away, deferred, refused, or unconfirmed: nobody knows.",
    ("reason",),
)

# Every series exists from the start, at zero, so that a rate over it is defined.
for _outcome in ("greeting", "notice", "notice_suppressed", "greeting_stale", "no_mail"):
    EMAILS.labels(_outcome)
for _action in ("resend", "park"):
    AMBIGUOUS.labels(_action)
for _reason in ("away", "deferred", "refused", "unconfirmed"):
    FAILURES.labels(_reason)
