"""A Kubernetes API server, as far as Helm can see: real HTTP, strict validation, watches.

It keeps objects and tells who watches; what they stand for is somebody else's (kubelet.py). Every
object is checked against the schemas of one Kubernetes version, unknown fields included, on the
way in and after each patch, and keeps what no change may touch: what Helm would be refused there
it is refused here.
"""

import base64
import copy
import json
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import yaml
from schemas import Invalid, check_kubernetes

VERSION = "1.37"
KINDS = {
    "v1": {
        "configmaps": "ConfigMap",
        "persistentvolumeclaims": "PersistentVolumeClaim",
        "pods": "Pod",
        "secrets": "Secret",
        "serviceaccounts": "ServiceAccount",
        "services": "Service",
    },
    "apps/v1": {
        "deployments": "Deployment",
        "replicasets": "ReplicaSet",
        "statefulsets": "StatefulSet",
    },
    "autoscaling/v2": {"horizontalpodautoscalers": "HorizontalPodAutoscaler"},
    "networking.k8s.io/v1": {"ingresses": "Ingress", "networkpolicies": "NetworkPolicy"},
    "policy/v1": {"poddisruptionbudgets": "PodDisruptionBudget"},
}
VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]
MERGED_BY = {
    "containers": ("name",),
    "env": ("name",),
    "initContainers": ("name",),
    "ports": ("containerPort", "port"),
    "topologySpreadConstraints": ("topologyKey",),
    "volumeMounts": ("mountPath",),
    "volumes": ("name",),
}
"""Lists that a strategic merge patch merges, and by what; the others it replaces."""

MAY_CHANGE = {
    "persistentvolumeclaims": {"resources", "volumeAttributesClassName"},
    "statefulsets": {
        *("minReadySeconds", "ordinals", "persistentVolumeClaimRetentionPolicy", "replicas"),
        *("revisionHistoryLimit", "template", "updateStrategy"),
    },
}
"""In the spec of what is there already; the rest of it stays for ever."""
STAYS = {"deployments": {"selector"}, "services": {"clusterIP"}}
"""… and of others only this."""


class Objects:
    """All objects by plural, namespace and name; and everything that happened, in order."""

    def __init__(self):
        self.changed = threading.Condition()
        self.events = []
        """Kind of event, plural, and the object as it was then. Its place is its version."""
        self._kept = {}

    def get(self, plural, namespace, name):
        with self.changed:
            return copy.deepcopy(self._kept.get((plural, namespace, name)))

    def all(self, plural, namespace=None):
        with self.changed:
            found = [
                one
                for (kind, where, _), one in sorted(self._kept.items())
                if kind == plural and namespace in (None, where)
            ]
            return copy.deepcopy(found), len(self.events)

    def put(self, plural, new, *, status=None):
        """Keep an object, new or changed; return it as it is kept."""
        with self.changed:
            meta = new["metadata"]
            key = (plural, meta["namespace"], meta["name"])
            old = self._kept.get(key)
            of_old = old["metadata"] if old else {"uid": str(uuid4()), "generation": 0}
            changed = not old or {k: old.get(k) for k in ("spec", "data")} != {
                k: new.get(k) for k in ("spec", "data")
            }
            meta["uid"] = of_old["uid"]
            meta["creationTimestamp"] = of_old.get("creationTimestamp", "2026-11-26T12:00:00Z")
            meta["generation"] = of_old["generation"] + bool(changed)
            meta["resourceVersion"] = str(len(self.events) + 1)
            kept = status if status is not None else (old or new).get("status")
            new = {**new, "status": kept} if kept is not None else new
            self._tell("MODIFIED" if old else "ADDED", plural, key, new)
            return copy.deepcopy(new)

    def delete(self, plural, namespace, name):
        with self.changed:
            if one := self._kept.get((plural, namespace, name)):
                self._tell("DELETED", plural, (plural, namespace, name), one)
            return one

    def _tell(self, event, plural, key, one):
        if event == "DELETED":
            del self._kept[key]
        else:
            self._kept[key] = one
        self.events.append((event, plural, copy.deepcopy(one)))
        self.changed.notify_all()


def checked(one):
    """Return it as it is kept. Raises Invalid, as the server with fieldValidation=Strict does."""
    check_kubernetes(one, VERSION)
    if one["kind"] == "Secret":
        plain = one.pop("stringData", {})
        encoded = {key: base64.b64encode(text.encode()).decode() for key, text in plain.items()}
        one["data"] = {**one.get("data", {}), **encoded}
    if one["kind"] == "Service":
        one["spec"].setdefault("clusterIP", "10.0.0.1")
    if one["kind"] == "PersistentVolumeClaim":
        one["status"] = {"phase": "Bound"}
    return one


def changed(plural, old, new):
    """Return the new one. Raises Invalid if it changes what never may."""
    before, after = old.get("spec", {}), new.get("spec", {})
    fixed = STAYS.get(plural, set())
    if plural in MAY_CHANGE:
        fixed = (before.keys() | after.keys()) - MAY_CHANGE[plural]
    for field in sorted(fixed):
        if before.get(field) != after.get(field):
            name = new["metadata"]["name"]
            raise Invalid(f"{new['kind']} {name}: spec.{field}: field is immutable")
    if old.get("type") != new.get("type"):
        raise Invalid(f"{new['kind']} {new['metadata']['name']}: type: field is immutable")
    return new


def read(body):
    """A body: YAML, JSON, or Kubernetes' Protobuf, in which Helm keeps its own Secrets."""
    if not body.startswith(b"k8s\0"):
        return yaml.load(body, Loader=yaml.CSafeLoader) if body else None
    unknown = dict(_fields(body[4:]))
    kind = dict(_fields(unknown[1]))[2].decode()
    if kind != "Secret":
        return {"kind": kind}
    secret = {"apiVersion": "v1", "kind": kind, "metadata": {}, "data": {}}
    for number, value in _fields(unknown[2]):
        if number == 1:
            secret["metadata"] = _metadata(value)
        elif number == 2:
            pair = dict(_fields(value))
            secret["data"][pair[1].decode()] = base64.b64encode(pair[2]).decode()
        elif number == 3:
            secret["type"] = value.decode()
    return secret


def _metadata(message):
    metadata = {}
    for number, value in _fields(message):
        if number == 1:
            metadata["name"] = value.decode()
        elif number == 11:
            pair = dict(_fields(value))
            metadata.setdefault("labels", {})[pair[1].decode()] = pair[2].decode()
    return metadata


def _fields(message):
    """Each field of a Protobuf message: its number, and what it holds."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte, at = message[at], at + 1
            value, shift = value | (byte & 0x7F) << shift, shift + 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
        else:
            assert key & 7 == 2, key
            length = varint()
            yield key >> 3, message[at : at + length]
            at += length


def strategic(old, patch):
    """What a strategic merge patch makes of an object: what Helm 3 sends."""
    if patch.get("$patch") == "replace":
        return {key: value for key, value in patch.items() if key != "$patch"}
    new = dict(old)
    if (kept := patch.get("$retainKeys")) is not None:
        new = {key: value for key, value in new.items() if key in kept}
    for key, value in patch.items():
        if key.startswith("$"):
            continue
        if value is None:
            new.pop(key, None)
        elif isinstance(value, dict):
            new[key] = strategic(new.get(key) or {}, value)
        elif (
            isinstance(value, list)
            and key in MERGED_BY
            and all(isinstance(v, dict) for v in value)
        ):
            by = next(b for b in MERGED_BY[key] if not value or b in value[0])
            new[key] = _merged(new.get(key) or [], value, by, patch.get(f"$setElementOrder/{key}"))
        else:
            new[key] = value
    return new


def _merged(old, patch, by, order):
    kept = {one[by]: one for one in old}
    for one in patch:
        if one.get("$patch") == "delete":
            kept.pop(one[by], None)
        else:
            kept[one[by]] = strategic(kept.get(one[by], {}), one)
    if order:
        names = [one[by] for one in order]
        return sorted(
            kept.values(), key=lambda one: names.index(one[by]) if one[by] in names else 99
        )
    return list(kept.values())


class Answering(BaseHTTPRequestHandler):
    """One connection of one client."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    @property
    def objects(self):
        return self.server.objects

    def do_GET(self):
        self._answer(self._read)

    def do_POST(self):
        self._answer(self._create)

    def do_PUT(self):
        self._answer(self._replace)

    def do_PATCH(self):
        self._answer(self._patch)

    def do_DELETE(self):
        self._answer(self._delete)

    def _answer(self, how):
        url = urlsplit(self.path)
        self.query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        self.server.asked.append((self.command, self.path))
        with suppress(BrokenPipeError, ConnectionResetError):
            try:
                how(url.path.strip("/").split("/"), read(body))
            except Invalid as invalid:
                self._say(422, self._status(422, "Invalid", str(invalid)))

    def _say(self, code, told):
        body = json.dumps(told).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _status(self, code, reason, message):
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success" if code < 300 else "Failure",
            "reason": reason,
            "message": message,
            "code": code,
        }

    def _missing(self, what):
        self._say(404, self._status(404, "NotFound", f"{what} not found"))

    def _read(self, path, _):
        match path:
            case ["version"]:
                self._say(200, {"major": "1", "minor": "37", "gitVersion": f"v{VERSION}.0"})
            case ["api"]:
                self._say(200, {"kind": "APIVersions", "versions": ["v1"]})
            case ["apis"]:
                self._say(200, groups())
            case ["openapi", "v3"]:
                paths = {_where(version): f"/openapi/v3/{_where(version)}" for version in KINDS}
                urls = {path: {"serverRelativeURL": url} for path, url in paths.items()}
                self._say(200, {"paths": urls})
            case ["openapi", "v3", *where] if (version := _version(where)) in KINDS:
                self._say(200, openapi(version))
            case ["api" | "apis", *_] if (version := _version(path)) in KINDS:
                self._say(200, resources(version))
            case _:
                self._read_objects(path)

    def _read_objects(self, path):
        version, namespace, plural, name = _parts(path)
        if plural not in KINDS.get(version, {}):
            return self._missing("/".join(path))
        if name:
            one = self.objects.get(plural, namespace, name)
            return self._say(200, one) if one else self._missing(f'{plural} "{name}"')
        if self.query.get("watch") in ("1", "true"):
            return self._watch(version, plural, namespace)
        found, at = self.objects.all(plural, namespace)
        return self._say(
            200,
            {
                "kind": f"{KINDS[version][plural]}List",
                "apiVersion": version,
                "metadata": {"resourceVersion": str(at)},
                "items": [one for one in found if self._selected(one)],
            },
        )

    def _selected(self, one):
        wanted = {}
        for part in filter(None, self.query.get("fieldSelector", "").split(",")):
            wanted |= dict([part.split("=", 1)])
        if wanted.get("metadata.name", one["metadata"]["name"]) != one["metadata"]["name"]:
            return False
        labels = one["metadata"].get("labels", {})
        pairs = filter(None, self.query.get("labelSelector", "").split(","))
        return all(
            labels.get(k) == v for k, v in (p.replace("==", "=").split("=", 1) for p in pairs)
        )

    def _watch(self, version, plural, namespace):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        at = int(self.query.get("resourceVersion") or 0)
        if self.query.get("sendInitialEvents") == "true":
            found, at = self.objects.all(plural, namespace)
            for one in filter(self._selected, found):
                self._chunk("ADDED", one)
            ends = {"k8s.io/initial-events-end": "true"}
            meta = {"resourceVersion": str(at), "annotations": ends}
            kind = KINDS[version][plural]
            self._chunk("BOOKMARK", {"kind": kind, "apiVersion": version, "metadata": meta})
        while not self.server.stopping:
            with self.objects.changed:
                if len(self.objects.events) <= at:
                    self.objects.changed.wait(0.5)
                new, at = self.objects.events[at:], len(self.objects.events)
            for event, kind, one in new:
                where = one["metadata"]["namespace"]
                if kind == plural and namespace in (None, where) and self._selected(one):
                    self._chunk(event, one)

    def _chunk(self, event, one):
        line = json.dumps({"type": event, "object": one}).encode() + b"\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
        self.wfile.flush()

    def _create(self, path, one):
        _, namespace, plural, _ = _parts(path)
        one["metadata"]["namespace"] = namespace
        if self.objects.get(plural, namespace, one["metadata"]["name"]):
            what = f'{plural} "{one["metadata"]["name"]}" already exists'
            return self._say(409, self._status(409, "AlreadyExists", what))
        return self._say(201, self.objects.put(plural, checked(one)))

    def _replace(self, path, one):
        _, namespace, plural, name = _parts(path)
        if not (old := self.objects.get(plural, namespace, name)):
            return self._missing(name)
        one["metadata"]["namespace"] = namespace
        return self._say(200, self.objects.put(plural, changed(plural, old, checked(one))))

    def _patch(self, path, patch):
        _, namespace, plural, name = _parts(path)
        old = self.objects.get(plural, namespace, name)
        kind = self.headers["Content-Type"]
        if kind.startswith("application/apply-patch"):
            # Helm alone applies: what it does not name any more goes.
            new = patch
        elif old is None:
            return self._missing(name)
        elif kind.startswith("application/strategic-merge-patch"):
            new = strategic(old, patch)
        else:
            return self._say(415, self._status(415, "UnsupportedMediaType", kind))
        new["metadata"]["namespace"] = namespace
        new = checked(new)
        if old:
            new = changed(plural, old, new)
        return self._say(200 if old else 201, self.objects.put(plural, new))

    def _delete(self, path, _):
        _, namespace, plural, name = _parts(path)
        if not self.objects.delete(plural, namespace, name):
            return self._missing(f'{plural} "{name}"')
        return self._say(200, self._status(200, "", ""))


def _where(version):
    return f"api/{version}" if "/" not in version else f"apis/{version}"


def _version(path):
    return "/".join(path[1:])


def _parts(path):
    """Version, namespace or None, plural and name or None of a path."""
    first = 2 if path[0] == "api" else 3
    version, rest = "/".join(path[1:first]), path[first:]
    namespace = None
    if rest[:1] == ["namespaces"] and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    return version, namespace, rest[0] if rest else "", rest[1] if len(rest) > 1 else None


def groups():
    """What /apis says."""
    found = []
    for version in KINDS:
        if "/" in version:
            name, _, number = version.partition("/")
            this = {"groupVersion": version, "version": number}
            found.append({"name": name, "versions": [this], "preferredVersion": this})
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": found}


def resources(version):
    """What a group's own path says."""
    kinds = KINDS[version].items()
    every = [
        {"name": n, "singularName": "", "kind": k, "namespaced": True, "verbs": VERBS}
        for n, k in kinds
    ]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": version,
        "resources": every,
    }


def openapi(version):
    """Only what a client looks for before it leaves validation to the server."""
    group, _, number = version.rpartition("/")
    validated = [{"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}]
    paths = {}
    for plural, kind in KINDS[version].items():
        which = {"group": group, "version": number, "kind": kind}
        patch = {
            "parameters": validated,
            "x-kubernetes-group-version-kind": which,
            "responses": {},
        }
        path = f"/{_where(version)}/namespaces/{{namespace}}/{plural}/{{name}}"
        paths[path] = {"patch": patch}
    return {"openapi": "3.0.0", "info": {"title": "k", "version": number}, "paths": paths}


class ApiServer(ThreadingHTTPServer):
    """The server, for as long as the context lasts; `kubeconfig` leads to it."""

    daemon_threads = True

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), Answering)
        self.objects = Objects()
        self.asked = []
        self.stopping = False
        self.kubeconfig = folder / "kubeconfig"
        cluster = {"server": f"http://127.0.0.1:{self.server_port}"}
        named = {
            "clusters": [{"name": "here", "cluster": cluster}],
            "users": [{"name": "me", "user": {}}],
            "contexts": [{"name": "it", "context": {"cluster": "here", "user": "me"}}],
        }
        whole = {"apiVersion": "v1", "kind": "Config", "current-context": "it", **named}
        self.kubeconfig.write_text(yaml.safe_dump(whole))
        self._serving = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self):
        self._serving.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        with self.objects.changed:
            self.objects.changed.notify_all()
        self.shutdown()
        self.server_close()
