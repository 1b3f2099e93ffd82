"""What can go wrong, by what the caller can do about it."""


class SeawayError(Exception):
    """Any error that the platform raises on purpose."""


class ContractError(SeawayError):
    """A .proto file, or a use of it, breaks the rules of the platform. A programmer's mistake."""


class SettingsError(SeawayError):
    """The process cannot start with these settings. The message names each of them."""


class Unprocessable(SeawayError):
    """This message will never be handled, however often it is tried.

    `reason` is a fixed code in UPPER_SNAKE_CASE. It is shown to operators and stored with the
    dead letter, so it never holds personal data.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class DependencyDown(SeawayError):
    """Something that the handler needs is away; the message is not to blame.

    Raise it from the error that said so. Attempts made while it lasts do not count.
    """


class NotNow(SeawayError):
    """This attempt came to nothing; another may do. It counts as a failure of the message.

    What was to be expected, such as a mailbox that is busy, needs no stack trace: raise this, or
    a child of it, and its type and its sentence are all that is logged. So the sentence never
    holds personal data.
    """


class BrokerUnavailable(SeawayError):
    """The broker did not answer. Whether it stored the message is unknown: try again.

    Trying again is always safe, because a repeat is recognised by its subject.
    """


class StreamFull(SeawayError):
    """The stream has reached its limit and stores nothing new until messages age out."""


class TooLarge(SeawayError):
    """Headers and body together exceed what the broker takes. Nothing was sent."""


class KeyReused(SeawayError):
    """A conversation with this key was opened before, with other content. That one stands."""


class DurableGone(SeawayError):
    """The durable that this process reads from is not there; `seaway topology apply` makes it."""


class Raced(SeawayError):
    """Another worker recorded the same message first. Ask the inbox again."""


class TopologyError(SeawayError):
    """The broker's streams or durables are not what the contracts ask for."""
