"""Rounds: A B A B, on one machine, in one run, after rounds that do not count."""

import time
from collections import defaultdict
from dataclasses import dataclass, field
from statistics import median


@dataclass
class Sample:
    """What one round of one side came to."""

    value: float
    cpu: dict[str, float] = field(default_factory=dict)
    """CPU seconds for a thousand of what was done, by process."""
    notes: list[str] = field(default_factory=list)
    """What a reader of the figure has to know: that the load was the limit."""
    wrong: list[str] = field(default_factory=list)
    """What does not add up: work that was lost, calls that failed."""


@dataclass
class Figure:
    """A measured figure, beside its peer's if it has one."""

    name: str
    unit: str
    ours: list[Sample]
    peer: list[Sample] = field(default_factory=list)
    target: float | None = None
    less_is_better: bool = False
    by_pairs: bool = False
    """The ratio is the median of the rounds', not that of the medians: for a small difference."""

    @property
    def ratio(self):
        """Ours to the peer's, of the medians."""
        if self.by_pairs:
            return median(self.each) if self.each else None
        other = middle(self.peer) if self.peer else None
        return middle(self.ours) / other if other else None

    @property
    def each(self):
        """The same, round by round; without a peer, our figures."""
        if not self.peer:
            return [sample.value for sample in self.ours]
        pairs = zip(self.ours, self.peer, strict=True)
        return [ours.value / peer.value for ours, peer in pairs if peer.value]

    @property
    def met(self):
        """Whether the target is reached; None if there is none."""
        found = self.ratio if self.peer else middle(self.ours)
        if self.target is None or found is None:
            return None
        return found <= self.target if self.less_is_better else found >= self.target

    @property
    def notes(self):
        """Each note once, said of whom."""
        sides = (("ours", self.ours), ("peer", self.peer))
        said = [
            f"{side}: {note}"
            for side, samples in sides
            for sample in samples
            for note in (*sample.wrong, *sample.notes)
        ]
        return list(dict.fromkeys(said))

    @property
    def is_broken(self):
        """Whether something of ours does not add up. A peer's shortcomings are only told."""
        return any(sample.wrong for sample in self.ours)


def middle(samples):
    """The median."""
    return median(sample.value for sample in samples)


def cpu(samples):
    """The median of what each process used."""
    names = {name: None for sample in samples for name in sample.cpu}
    return {name: median(sample.cpu.get(name, 0.0) for sample in samples) for name in names}


async def interleaved(sides, rounds, say, *, within, warm_up=1, unit="/s"):
    """Measure each side in turn, so many times; return the samples by side.

    `sides` are functions by name; each returns a Sample. After `within` seconds no other round
    begins, but there is always one that counts.
    """
    samples, begun = defaultdict(list), time.monotonic()
    for number in range(1 - warm_up, rounds + 1):
        if number > 1 and time.monotonic() - begun > within:
            say(f"    that took long: {number - 1} rounds instead of {rounds}")
            break
        for name, measure in sides.items():
            sample = await measure()
            counts = f"round {number} of {rounds}" if number > 0 else "warm-up"
            noted = "".join(f"  ! {note}" for note in (*sample.wrong, *sample.notes))
            say(f"    {name:<22} {sample.value:>10,.1f} {unit:<10} {counts}{noted}")
            if number > 0:
                samples[name].append(sample)
    return samples
