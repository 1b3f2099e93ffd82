"""What the chart renders is started as it says, beside a real broker: a sign-up goes through."""

from contextlib import AsyncExitStack

import pytest
from acme.gateway.v1 import sign_up_pb2 as api
from helm import pod_of, rendered
from processes import Program, free_ports
from seaway.testing import nats_server
from sign_ups import SignUp, a_request, clients, sign_up

pytestmark = pytest.mark.slow

ONE_USER = 'authorization { users = [{user: "seaway", password: "right"}] }'
ELSEWHERE = ("SEAWAY_METRICS_PORT", "SEAWAY_METRICS_HOST", "SEAWAY_GRPC_HOST", "SEAWAY_WEB_HOST")
"""What is a pod's own there, and here shared with everybody on this machine."""


def settings_of(pod, folder, broker):
    """What the rendered container is told, with its mounts in a folder."""
    (prepare,), (main,) = pod["initContainers"], pod["containers"]
    assert prepare["args"] == ["prepare"]
    assert not {"command", "args"} & main.keys()
    mounts = {mount["name"]: mount["mountPath"] for mount in main["volumeMounts"]}
    told = {variable["name"]: variable["value"] for variable in main["env"]}
    for name in mounts:
        (folder / name).mkdir(parents=True)
    del mounts["tmp"]  # of no setting; here everything is below it
    for name, path in mounts.items():
        told = {key: value.replace(path, str(folder / name)) for key, value in told.items()}
    (folder / "secrets/nats_url").write_text(broker.url.replace("//", "//seaway:right@"))
    return {key: value for key, value in told.items() if key not in ELSEWHERE}


async def test_a_sign_up_goes_through_what_is_rendered(tmp_path):
    ports = free_ports(4)
    async with nats_server(ONE_USER) as broker, AsyncExitStack() as stack:
        programs = []
        for name in ("user-creation", "data-warehouse", "gateway"):
            pod = pod_of(rendered(name, tmp_path))
            module, folder = name.replace("-", "_"), tmp_path / name
            settings = settings_of(pod, folder, broker)
            if name == "gateway":
                settings["SEAWAY_GRPC_PORT"] = str(ports[-1])
            program = Program(module, settings, folder, ports[len(programs)])
            programs.append(await stack.enter_async_context(program))
        for program in programs:
            await program.ready()
            assert program.asked(program_probe(program, tmp_path))[0] == 200
        one = SignUp(a_request(reveal_taken=False))
        async with clients(ports[-1:]) as stubs:
            await sign_up(stubs, one, within=120.0)
        assert one.outcomes == {api.State.STATE_CONFIRMED}
        assert (tmp_path / "user-creation/storage/user-creation.db").exists()
        assert (tmp_path / "data-warehouse/storage/users/_delta_log").exists()
        for program in programs:
            status, metrics = program.asked("/metrics")
            assert status == 200
            assert "seaway_build_info{" in metrics
        assert [await program.stop() for program in programs] == [0, 0, 0]


def program_probe(program, folder):
    """The path that the kubelet would ask whether it lives."""
    pod = pod_of(rendered(program.module.replace("_", "-"), folder))
    return pod["containers"][0]["livenessProbe"]["httpGet"]["path"]
