"""Streams and durables as the contracts declare them: compared with the broker's, and applied."""

from seaway.topology.backbone import Backbone, Config, Durable, FoundStream
from seaway.topology.declaring import LIVE, Topology, declared, stream_config
from seaway.topology.durable_spec import DurableSpec
from seaway.topology.planning import (
    Change,
    Found,
    apply,
    beginning_now,
    drift,
    plan,
    survey,
    unowned,
)

__all__ = [
    "LIVE",
    "Backbone",
    "Change",
    "Config",
    "Durable",
    "DurableSpec",
    "Found",
    "FoundStream",
    "Topology",
    "apply",
    "beginning_now",
    "declared",
    "drift",
    "plan",
    "stream_config",
    "survey",
    "unowned",
]
