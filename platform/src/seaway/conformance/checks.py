"""The promises, each with how it is seen from outside. They are tried in this order.

Each returns what was seen. It raises Broken if the promise was not kept, and NotTried if that
cannot be seen.
"""

import re
import signal
import time
from collections.abc import Mapping
from typing import Any

from seaway.conformance.bodies import UNKNOWN_FIELD
from seaway.conformance.obstacle import Door
from seaway.conformance.promise import Broken, NotTried
from seaway.conformance.replies import check_replies
from seaway.conformance.tap import ACK, IN_PROGRESS, NAK, TERM
from seaway.conformance.trial import Given, Held, Trial
from seaway.dead_letters import DEAD, letter_subject

STOP_WITHIN = 25.0
"""Seconds after SIGTERM: 20 for what is in hand, and some to leave."""
SHORTEST_DELAY = 0.1
LATE = 0.5
"""Seconds after SIGTERM in which the receipts for what is in hand come."""
HEARD_WITHIN = 1.0
"""Seconds that what it has said may take to us."""
IN_HAND = 3
UNREADABLE = b"\xff\xff\xff"
CODE = re.compile(r"[A-Z][A-Z0-9_]*")


async def is_ready(trial: Trial) -> str:
    """See that it answers 200 on /readyz at SEAWAY_METRICS_PORT once it works."""
    try:
        await trial.program.start()
    except OSError as error:
        raise Broken(f"cannot start {trial.candidate.command[0]}: {error.strerror}") from error
    took = await trial.ready()
    trial.is_ready = True
    return f"after {took:.1f} s"


async def acks(trial: Trial) -> str:
    """See that it acks what it has handled."""
    given = await trial.give()
    word = await trial.settled(given)
    if word.said != ACK:
        raise Broken(f"{word.said} {_about(trial, given)}")
    return f"{word.at - given.at:.2f} s after the message"


async def replies(trial: Trial) -> str:
    """See that its replies have the derived id, conversation, cause, trace and guard."""
    heard = len(trial.tap.said)
    given = await trial.give()
    await trial.acked(given)
    said = trial.said_since(heard)
    check_replies(trial, given, said)
    if not said:
        return "it says nothing, and nothing is asked of it"
    names = [s.headers["ce-type"].rpartition(".")[2] for s in said]
    return ", ".join(f"{n} {s.headers['ce-id']}" for n, s in zip(names, said, strict=True))


async def reads_headers(trial: Trial) -> str:
    """See that it knows a message by its headers: on a redrive subject nothing else tells."""
    return await _handles(trial, "on its redrive subject", redriven=True)


async def tolerates_the_unknown(trial: Trial) -> str:
    """See that fields and headers of a later version do not disturb it."""
    later = {"ce-later": "yes"}
    return await _handles(trial, "with an unknown field", more=UNKNOWN_FIELD, headers=later)


async def sets_aside(trial: Trial) -> str:
    """See that what nobody can read is stored as a dead letter, byte for byte, and let go of."""
    unreadable = await trial.give(body=UNREADABLE)
    unknown = await trial.give(headers={"ce-type": "conformance.v1.Unknown"})
    reasons = [await _letter(trial, given) for given in (unreadable, unknown)]
    return f"{reasons[0]} for a body, {reasons[1]} for a type"


async def is_idempotent(trial: Trial) -> str:
    """See that of what is delivered again nothing new comes, and that it is acked again."""
    return await _nothing_new(trial)


async def acks_only_what_is_done(trial: Trial) -> str:
    """See that it does not ack while there is no answer from where its work ends."""
    trial.held = held = await _held_up(trial)
    if any(word.said in (ACK, TERM) for word in held.words):
        raise Broken(f"{held.words[-1].said} after {held.seconds:.2f} s, {_without(trial)}")
    return f"not for {held.seconds:.1f} s, {_without(trial)}"


async def keeps_alive(trial: Trial) -> str:
    """See that it says that it goes on, so that long work is not begun again elsewhere."""
    held, ack_wait = _held(trial), trial.candidate.durable.ack_wait
    times = sum(word.said == IN_PROGRESS for word in held.words)
    if held.deliveries > 1:
        raise Broken(f"delivered {held.deliveries} times within {held.seconds:.1f} s")
    if held.seconds > ack_wait / 2 and not times:
        raise Broken(f"never in progress in {held.seconds:.1f} s; the ack wait is {ack_wait:g} s")
    return f"in progress {times} times in {held.seconds:.1f} s; the ack wait is {ack_wait:g} s"


async def naks(trial: Trial) -> str:
    """See that it gives back what fails, with a delay, and handles it when it comes again."""
    try:
        held = _held(trial)
        await trial.obstacle.refuse()
        word = await trial.settled(held.given)
        if word.said != NAK:
            raise Broken(f"{word.said} for what has failed, {_without(trial)}")
        if word.delay < SHORTEST_DELAY:
            raise Broken(f"given back with a delay of {word.delay:g} s: it comes again at once")
    finally:
        await trial.obstacle.release()
    heard = len(trial.tap.said)
    await trial.acked(held.given)
    check_replies(trial, held.given, trial.said_since(heard))
    return f"with a delay of {word.delay:.2g} s, and acked once it could be done"


async def drains(trial: Trial) -> str:
    """See that on SIGTERM it finishes what is in hand, gives back the rest and ends with 0."""
    await trial.quiet()
    await trial.obstacle.hold()
    given = [await trial.give() for _ in range(IN_HAND)]
    await _met(trial)
    began = time.monotonic()
    trial.program.send(signal.SIGTERM)
    await trial.program.exit_code(LATE)
    await trial.obstacle.release()
    code = await trial.program.exit_code(STOP_WITHIN)
    took = time.monotonic() - began
    if code is None:
        raise Broken(f"still running {STOP_WITHIN:g} s after SIGTERM")
    if code != 0:
        raise Broken(f"ended with {code}" if code > 0 else f"ended by signal {-code}")
    words = [word for one in given for word in trial.tap.about(one.sequence, settling=True)]
    if not any(word.said == ACK for word in words):
        raise Broken("what it had in hand was not finished")
    if left := await _unsettled(trial):
        raise Broken(f"{left} deliveries left in hand: they wait for the ack wait to pass")
    return f"0 after {took:.1f} s; of what it had in hand nothing is left"


async def remembers(trial: Trial) -> str:
    """See that another process of it knows what this one has handled."""
    if not trial.program.ended:
        raise NotTried("it did not end")
    await trial.program.start()
    await trial.ready()
    return await _nothing_new(trial)


async def _handles(trial: Trial, how: str, **unusual: Any) -> str:
    """Give it an unusual message; return that it was handled like any other."""
    heard = len(trial.tap.said)
    given = await trial.give(**unusual)
    word = await trial.settled(given)
    if word.said != ACK:
        raise Broken(f"{word.said} {_about(trial, given)} {how}")
    check_replies(trial, given, trial.said_since(heard))
    return f"handled {how}"


async def _nothing_new(trial: Trial) -> str:
    """Deliver everything again; return how much it was. Raises Broken if anything comes of it."""
    await trial.quiet()
    before, heard = await trial.stored(), len(trial.tap.said)
    sent = _sent(trial)
    stored = {said.subject: said for said in trial.tap.said}
    await trial.deliver_all_again()
    await trial.quiet()
    after = await trial.stored()
    if new := sorted(after.keys() - before.keys()):
        raise Broken(f"it said something new: {new[0]}")
    for said in trial.said_since(heard):
        first = stored.get(said.subject)
        if first and first.headers.get("ce-id") != said.headers.get("ce-id"):
            raise Broken(
                f"another id for {said.subject}: {said.headers.get('ce-id')}, "
                f"and before {first.headers.get('ce-id')}"
            )
    if _sent(trial) != sent:
        raise Broken(f"it sent {_sent(trial) - sent} bytes to its dependency again")
    came = {word.sequence for word in trial.tap.words[trial.rewound :] if word.settles}
    if len(came) < len(trial.given):
        raise Broken(f"{len(trial.given)} messages came again, and it settled {len(came)}")
    return f"{len(came)} messages came again, and nothing new came of them"


async def _held_up(trial: Trial) -> Held:
    """Give it a message that it cannot get done, for longer than the ack wait."""
    await trial.quiet()
    before = await _deliveries(trial)
    await trial.obstacle.hold()
    given = await trial.give()
    await _met(trial)
    longest = trial.candidate.durable.ack_wait + 1

    def ended() -> bool:
        return any(trial.tap.about(given.sequence, settling=True))

    await trial.tap.until(ended, longest)
    words = list(trial.tap.about(given.sequence))
    until = next((word.at for word in words if word.settles), time.monotonic())
    deliveries = await _deliveries(trial) - before
    return Held(given, words, until - given.at, deliveries)


def _held(trial: Trial) -> Held:
    match trial.held:
        case None:
            raise NotTried("it could not be held up")
        case Held(words=words) if any(word.said in (ACK, TERM) for word in words):
            raise NotTried("it was done with it at once")
        case held:
            return held


async def _met(trial: Trial) -> None:
    met = await trial.tap.until(lambda: trial.obstacle.met > 0, trial.patience)
    if not met:
        await trial.obstacle.release()
        raise Broken(f"it never waited for {trial.obstacle.what} in {trial.patience:g} s")


async def _letter(trial: Trial, given: Given) -> str:
    """Return the reason of a message's dead letter. Raises Broken if it is not as it must be."""
    word = await trial.settled(given)
    subject = letter_subject(trial.candidate.durable.name, given.envelope.id)
    if word.said not in (TERM, ACK):
        raise Broken(f"{word.said} for what nobody can ever read")
    letter = await trial.broker.read(DEAD.name, subject)
    if letter is None:
        raise Broken(f"{word.said}, and there is no dead letter on {subject}")
    if letter.data != given.body:
        raise Broken(f"the dead letter on {subject} has another body")
    headers: Mapping[str, str] = letter.headers
    if headers.get("seaway-durable") != trial.candidate.durable.name:
        raise Broken(f"seaway-durable is {headers.get('seaway-durable')!r}")
    if not CODE.fullmatch(headers.get("seaway-reason", "")):
        raise Broken(f"seaway-reason is {headers.get('seaway-reason')!r}, and no code")
    return headers["seaway-reason"]


async def _deliveries(trial: Trial) -> int:
    name = trial.candidate.durable.name
    return (await trial.broker.durables(trial.stream))[name].deliveries


async def _unsettled(trial: Trial) -> int:
    """Return how many deliveries the program has kept to itself."""
    deliveries = await _deliveries(trial)
    await trial.tap.caught_up()

    def kept() -> int:
        words = trial.tap.words[trial.rewound :]
        return deliveries - len({word.number for word in words if word.settles})

    await trial.tap.until(lambda: not kept(), HEARD_WITHIN)
    return kept()


def _sent(trial: Trial) -> int:
    return trial.obstacle.sent if isinstance(trial.obstacle, Door) else 0


def _without(trial: Trial) -> str:
    return f"without {trial.obstacle.what}"


def _about(trial: Trial, given: Given) -> str:
    return f"for {trial.candidate.message} {given.envelope.id}"
