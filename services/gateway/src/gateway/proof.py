"""python -m gateway.proof HOST:PORT: sign somebody up, and end with 0 if that is confirmed.

What `helm test` runs in the gateway's own image: a real sign-up, of somebody who is nobody.
"""

import asyncio
import sys
from collections.abc import Sequence
from uuid import uuid4

from acme.gateway.v1 import sign_up_pb2 as api

from gateway.client import Client, Refused

WITHIN = 60.0
NOBODY = "helm-test-{}@example.org"
"""A domain that is reserved, so that no mail of it reaches anybody."""


async def signed_up(target: str) -> bool:
    """Sign somebody up, say what comes, and return whether it was confirmed.

    Raises Refused, and TimeoutError if there is no outcome after a minute.
    """
    request_id = str(uuid4())
    email = NOBODY.format(request_id)
    request = api.SignUpRequest(request_id=request_id, email=email, display_name="helm test")
    client, state = Client(target, request), api.STATE_UNSPECIFIED
    try:
        async with asyncio.timeout(WITHIN):
            async for update in client.updates():
                state = update.state
                _say(f"{request_id} {api.State.Name(state)}")
    except TimeoutError:
        _say(f"no outcome after {WITHIN:g} s: {client.said}")
        raise
    return state == api.STATE_CONFIRMED


def main(arguments: Sequence[str]) -> int:
    """Return 0: confirmed; 1: refused; 2: wrong usage; 3: not known."""
    if len(arguments) != 1:
        _say("usage: python -m gateway.proof HOST:PORT")
        return 2
    try:
        return 0 if asyncio.run(signed_up(arguments[0])) else 1
    except Refused as refused:
        _say(*refused.lines)
        return 1
    except TimeoutError:
        return 3


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
