"""The data warehouse as it should not be: one name is its death. The rest is the real service's.

Its delays are short, and it dies in company only twice, so that a test can see the end of it.
"""

import os
from dataclasses import replace

from data_warehouse.__main__ import build as real
from seaway.outcome import RetryPolicy
from seaway.process import serve

DEADLY = "abort"
ACK_WAIT = 1.0
TOGETHER_UNTIL = 2


def build(process):
    service = real(process)
    [subscription] = service.subscriptions

    async def keep(messages):
        if any(getattr(message.body, "display_name", "") == DEADLY for message in messages):
            os.abort()
        return await subscription.handle(messages)

    policy = RetryPolicy(delays=(0.2,))
    told = {"policy": policy, "ack_wait": ACK_WAIT, "together_until": TOGETHER_UNTIL}
    service.subscriptions = [replace(subscription, handle=keep, **told)]
    return service


if __name__ == "__main__":
    serve("data-warehouse", build)
