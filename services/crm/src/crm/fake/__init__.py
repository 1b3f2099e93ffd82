"""A CRM for development and tests: a real HTTP server with HubSpot's manners, and fault switches.

    python -m crm.fake                      # http://127.0.0.1:8081: a page with all contacts

    async with serving(FakeCrm(token="fake")) as fake:       # in a test
        fake.faults = Faults(status=429, retry_after="1", times=1)

    curl -X PUT 127.0.0.1:8081/faults -d '{"status": 503, "times": 3}'

Written from HubSpot's public documentation. Never part of a production system.
"""

from crm.fake.faults import Faults
from crm.fake.server import FakeCrm, serving

__all__ = ["FakeCrm", "Faults", "serving"]
