"""What a cluster does with what is installed: controllers, and a kubelet that starts processes.

Each container is the program that its image holds, as a process on this machine, with the rendered
command, arguments, environment and mounted files, and asked by the rendered probes. What a pod has
of its own there and shares here is put in its place: its address is one of 127.0.0.0/8, its mounts
are folders, and a Service's name is the address of a pod behind it.
"""

import base64
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import forks
import grpc
from development import environment
from grpc_health.v1 import health_pb2, health_pb2_grpc

READY_WITHIN = 150.0
LOOK_EVERY = 0.05
AGAIN_AFTER = 0.5
CATCHER = ("aiosmtpd", "-n", "-l", "127.0.0.1:1025", "-c", "aiosmtpd.handlers.Sink")
IMAGES = {
    "nats": (str(Path(sys.executable).with_name("nats-server")),),
    "seaway/monitor": (sys.executable, "-m", "seaway.monitor"),
    "axllent/mailpit": (sys.executable, "-m", *CATCHER),
}
"""What stands in for an image; of seaway/some-service it is `python -m some_service`."""
PROGRAMS = {"python": sys.executable, "nats-server": IMAGES["nats"][0]}


def entry_point(image):
    """The program that an image starts."""
    repository = image.partition("@")[0].rpartition(":")[0] or image
    name = repository.rpartition("seaway/")[2].replace("-", "_")
    return IMAGES.get(repository, (sys.executable, "-m", name))


@dataclass
class Pod:
    """One pod: its init containers to their end, then its containers until they are stopped."""

    name: str
    spec: dict
    folder: Path
    address: str
    node: "Node"
    claims: dict[str, str] = field(default_factory=dict)
    running: dict[str, subprocess.Popen] = field(default_factory=dict)
    ended: dict[int, float] = field(default_factory=dict)
    """When it was seen that a process had ended by itself, by its id."""
    stopping: bool = False
    serves: bool = False
    """Whether a Service sends anybody here: it was ready, and was not told to go."""

    def start(self):
        """Start its containers, once what has to run before them has succeeded."""
        self.folder.mkdir(parents=True)
        self.mounts = {volume["name"]: self._mounted(volume) for volume in self.spec["volumes"]}
        for one in self.spec.get("initContainers", []):
            while self._run(one).wait() and not self.stopping:
                time.sleep(AGAIN_AFTER)
        for one in self.spec["containers"]:
            if not self.stopping:
                self.running[one["name"]] = self._run(one)

    def keep(self):
        """Start again what has ended by itself, as restartPolicy Always does."""
        for one in self.spec["containers"]:
            process = self.running.get(one["name"])
            if process is None or process.poll() is None or self.stopping:
                continue
            if process.pid not in self.ended:
                self.node.crashed.append(f"{self.name} ({process.returncode}):\n{self.said()}")
            since = self.ended.setdefault(process.pid, time.monotonic())
            if time.monotonic() - since > AGAIN_AFTER:
                self.running[one["name"]] = self._run(one)

    def is_ready(self):
        return all(self._passes(one, "readinessProbe") for one in self.spec["containers"])

    def is_live(self):
        return all(self._passes(one, "livenessProbe") for one in self.spec["containers"])

    def stop(self):
        """preStop, SIGTERM, and SIGKILL to whom the time that was given did not suffice."""
        self.stopping, self.serves = True, False
        [main, *_] = self.spec["containers"]
        hook = main.get("lifecycle", {}).get("preStop", {})
        time.sleep(hook.get("sleep", {}).get("seconds", 0))
        for process in self.running.values():
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        within = time.monotonic() + self.spec.get("terminationGracePeriodSeconds", 30)
        for name, process in self.running.items():
            try:
                process.wait(max(within - time.monotonic(), 0))
            except subprocess.TimeoutExpired:
                self.node.killed.append(f"{self.name}/{name}")
                process.kill()
                process.wait()

    def said(self):
        """What its containers have printed so far."""
        return "".join(f"--- {p.name}\n{p.read_text()}" for p in sorted(self.folder.glob("*.log")))

    def _run(self, one):
        start = one.get("command") or entry_point(one["image"])
        program, rest = PROGRAMS.get(start[0], start[0]), [*start[1:], *one.get("args", [])]
        told = {variable["name"]: self._value(variable) for variable in one.get("env", [])}
        with (self.folder / f"{one['name']}.log").open("ab") as log:
            return forks.popen(
                [program, *(self._here(part, one) for part in rest)],
                cwd=self.folder,
                env={
                    **environment(),
                    **self.node.settings,
                    **{name: self._here(value, one) for name, value in told.items()},
                },
                stdout=log,
                stderr=log,
            )

    def _value(self, variable):
        if "value" in variable:
            return variable["value"]
        assert variable["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}
        return self.name

    def _here(self, text, one):
        """What is said to a container, as it is on this machine."""
        mounts = {m["mountPath"]: str(self.mounts[m["name"]]) for m in one.get("volumeMounts", [])}
        return self.node.here(text, mounts, self.address)

    def _mounted(self, volume):
        if "emptyDir" in volume:
            folder = self.folder / volume["name"]
        elif "persistentVolumeClaim" in volume:
            claim = volume["persistentVolumeClaim"]["claimName"]
            folder = self.node.folder / "claims" / self.claims.get(claim, claim)
        else:
            folder = self.folder / volume["name"]
            for source in volume["projected"]["sources"]:
                self._project(source, folder)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _project(self, source, folder):
        folder.mkdir(parents=True, exist_ok=True)
        [(kind, which)] = source.items()
        found = self.node.api.objects.get(f"{kind.lower()}s", "default", which["name"])
        assert found, f"{self.name}: no {kind} {which['name']}"
        items = which.get("items") or [{"key": key, "path": key} for key in found["data"]]
        for item in items:
            text = found["data"][item["key"]]
            text = base64.b64decode(text).decode() if kind == "secret" else text
            # Its own mounts are not known to a file yet: those of the first container are meant.
            (folder / item["path"]).write_text(self._of_file(text))

    def _of_file(self, text):
        [main, *_] = self.spec["containers"]
        kinds = {volume["name"]: volume for volume in self.spec["volumes"]}
        mounts = {}
        for mount in main.get("volumeMounts", []):
            claim = kinds[mount["name"]].get("persistentVolumeClaim", {}).get("claimName")
            where = self.node.folder / "claims" / self.claims.get(claim, claim) if claim else None
            mounts[mount["mountPath"]] = str(where or self.folder / mount["name"])
        return self.node.here(text, mounts, self.address)

    def _passes(self, one, kind):
        process, probe = self.running.get(one["name"]), one.get(kind)
        if process is None or process.poll() is not None:
            return False
        if probe is None:
            return True
        if asked := probe.get("grpc"):
            return _serves(f"{self.address}:{asked['port']}", asked["service"])
        ports = {port["name"]: port["containerPort"] for port in one["ports"]}
        asked = probe["httpGet"]
        url = f"http://{self.address}:{ports[asked['port']]}{asked['path']}"
        try:
            with urlopen(url, timeout=probe.get("timeoutSeconds", 1)) as answer:
                return answer.status < 400
        except (URLError, OSError):
            return False


def _serves(target, service):
    with grpc.insecure_channel(target, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        asked = health_pb2.HealthCheckRequest(service=service)
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(asked, timeout=5)
        except grpc.RpcError:
            return False
        return answer.status == health_pb2.HealthCheckResponse.SERVING


class Node:
    """Runs what an API server is given, until the context ends. `settings` are everybody's."""

    def __init__(self, api, folder, **settings):
        self.api = api
        self.folder = folder
        self.settings = settings
        self.pods = {}
        """Those that run, by name."""
        self.rolled = []
        """Each workload that was replaced, in order."""
        self.killed = []
        """Containers that did not end in the time that they were given."""
        self.crashed = []
        """What pods had said by the time a container of theirs ended untold."""
        self.failed = []
        """What went wrong in here."""
        self._second = 10 + os.getpid() % 240
        self._addresses = {}
        self._done = {}
        self._tasks = ThreadPoolExecutor(16)
        self._stopping = False
        self._watching = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self._watching.start()
        return self

    def __exit__(self, *_):
        self._stopping = True
        self._watching.join()
        for pod in list(self.pods.values()):
            pod.stopping = True
            for process in pod.running.values():
                process.kill()
                process.wait()
        self._tasks.shutdown(cancel_futures=True)

    def addresses(self, workload, count=1):
        """The first addresses that pods of a workload have."""
        number = self._addresses.setdefault(workload, len(self._addresses) + 1)
        return [f"127.{self._second}.{number}.{pod + 1}" for pod in range(count)]

    def pods_of(self, workload):
        return [pod for name, pod in sorted(self.pods.items()) if name.startswith(f"{workload}-")]

    def here(self, text, mounts, address):
        """Put folders in the place of mounts, and addresses in the place of names."""
        services, _ = self.api.objects.all("services")
        names = {service["metadata"]["name"] for service in services}
        places = {**mounts, "0.0.0.0": address, "127.0.0.1": address}
        words = "|".join(sorted(map(re.escape, places.keys() | names), key=len, reverse=True))

        def put(found):
            word = found[1]
            return self._behind(word) if word in names else places[word]

        return re.sub(rf"(?<![\w.-])({words})(?![\w.-])", put, text)

    def _behind(self, service):
        """The address of a pod that is ready, or where the first one will be."""
        workload = service.removesuffix("-headless")
        serving = [pod.address for pod in self.pods_of(workload) if pod.serves]
        return (serving or self.addresses(workload))[0]

    def _watch(self):
        """Carry out what changed: each workload in a thread, one change of it after the other."""
        busy = {}
        while not self._stopping:
            for kind in ("statefulsets", "deployments", "pods"):
                for one in self.api.objects.all(kind, "default")[0]:
                    name = f"{kind}/{one['metadata']['name']}"
                    if name in busy and not busy[name].done():
                        continue
                    version = (one["metadata"]["uid"], one["metadata"]["generation"])
                    if self._done.get(name) != version:
                        self._done[name] = version
                        busy[name] = self._tasks.submit(self._carry_out, kind, one)
            self._remove(busy)
            for pod in list(self.pods.values()):
                pod.keep()
            time.sleep(LOOK_EVERY)

    def _remove(self, busy):
        for name in [name for name in self._done if name in busy and busy[name].done()]:
            kind, _, plain = name.partition("/")
            if self.api.objects.get(kind, "default", plain) is None:
                del self._done[name]
                busy[name] = self._tasks.submit(self._stop_all, plain)

    def _carry_out(self, kind, one):
        try:
            {"statefulsets": self._set, "deployments": self._deployment, "pods": self._pod}[kind](
                one
            )
        except BaseException as error:
            self.failed.append(f"{one['metadata']['name']}: {error!r}")
            raise

    def _stop_all(self, workload):
        list(map(self._end, self.pods_of(workload)))

    def _end(self, pod):
        pod.stop()
        del self.pods[pod.name]

    def _begin(self, workload, name, spec, address, claims=()):
        folder = self.folder / f"{name}-{time.monotonic_ns()}"
        pod = Pod(name, spec, folder, address, self, dict(claims))
        self.pods[name] = pod
        pod.start()
        deadline = time.monotonic() + READY_WITHIN
        while not pod.is_ready():
            if self._stopping or time.monotonic() > deadline:
                raise TimeoutError(f"{name} is not ready:\n{pod.said()}")
            time.sleep(LOOK_EVERY)
        assert pod.is_live(), f"{name} is ready and not live"
        pod.serves = True
        return pod

    def _deployment(self, one):
        workload, spec = one["metadata"]["name"], one["spec"]
        old, count = self.pods_of(workload), spec.get("replicas", 1)
        if old:
            self.rolled.append(workload)
        self._tell("deployments", one, count, 0)
        if spec["strategy"]["type"] == "Recreate":
            list(map(self._end, old))
            old = []
        for number in range(count):
            taken = {pod.address for pod in self.pods_of(workload)}
            free = [a for a in self.addresses(workload, 2 * count + 1) if a not in taken]
            name = f"{workload}-{one['metadata']['generation']}-{number}"
            self._begin(workload, name, spec["template"]["spec"], free[0])
            if old:
                self._end(old.pop(0))
        list(map(self._end, old))
        self._tell("deployments", one, count, count)

    def _set(self, one):
        workload, spec = one["metadata"]["name"], one["spec"]
        if self.pods_of(workload):
            self.rolled.append(workload)
        for number in reversed(range(spec["replicas"])):
            name = f"{workload}-{number}"
            if name in self.pods:
                self._end(self.pods[name])
            pod = dict(spec["template"]["spec"])
            claims = [claim["metadata"]["name"] for claim in spec["volumeClaimTemplates"]]
            more = [{"name": c, "persistentVolumeClaim": {"claimName": c}} for c in claims]
            pod["volumes"] = [*pod["volumes"], *more]
            names = {claim: f"{claim}-{name}" for claim in claims}
            address = self.addresses(workload, number + 1)[number]
            self._begin(workload, name, pod, address, names)
        self._tell("statefulsets", one, spec["replicas"], spec["replicas"])

    def _pod(self, one):
        name = one["metadata"]["name"]
        [address] = self.addresses(name)
        pod = Pod(name, one["spec"], self.folder / f"{name}-{time.monotonic_ns()}", address, self)
        pod.start()
        codes = [process.wait() for process in pod.running.values()]
        self.tests_said = pod.said()
        phase = "Failed" if any(codes) else "Succeeded"
        self.api.objects.put("pods", one, status={"phase": phase})

    def _tell(self, kind, one, count, ready):
        """Say how many of the pods that a workload is to have now are ready.

        Those of its last version are not: Helm would take them for these, and wait no more.
        """
        now = self.api.objects.get(kind, "default", one["metadata"]["name"])
        if now is None:
            return
        is_there = ready >= count
        status = {
            "observedGeneration": one["metadata"]["generation"],
            "replicas": count,
            "readyReplicas": ready,
            "updatedReplicas": count if is_there else 0,
            "availableReplicas": ready,
            "conditions": [
                {"type": "Available", "status": "True" if is_there else "False"},
                {
                    "type": "Progressing",
                    "status": "True",
                    "reason": "NewReplicaSetAvailable" if is_there else "ReplicaSetUpdated",
                },
            ],
        }
        if kind == "deployments":
            self._tell_of_replicas(one, status)
        else:
            status |= {"currentReplicas": count, "currentRevision": "a", "updateRevision": "a"}
        self.api.objects.put(kind, now, status=status)

    def _tell_of_replicas(self, one, status):
        """Helm 3 looks for the ReplicaSet of what it has installed."""
        meta = {"apiVersion": "apps/v1", "kind": "Deployment", "name": one["metadata"]["name"]}
        owner = {**meta, "uid": one["metadata"]["uid"], "controller": True}
        template = one["spec"]["template"]
        counted = {key: status[key] for key in ("replicas", "readyReplicas", "availableReplicas")}
        replicas = {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": f"{meta['name']}-{one['metadata']['generation']}",
                "namespace": "default",
                "labels": template["metadata"]["labels"],
                "ownerReferences": [owner],
            },
            "spec": {
                "replicas": one["spec"].get("replicas", 1),
                "selector": one["spec"]["selector"],
                "template": template,
            },
        }
        kept = self.api.objects.put("replicasets", replicas, status=counted)
        counted["observedGeneration"] = kept["metadata"]["generation"]
        self.api.objects.put("replicasets", kept, status=counted)


class Paper(Node):
    """Says of everything at once that it runs, and runs nothing: for what Helm itself does."""

    def _carry_out(self, kind, one):
        if kind == "pods":
            self.api.objects.put("pods", one, status={"phase": "Succeeded"})
        else:
            count = one["spec"].get("replicas", 1)
            self._tell(kind, one, count, count)
