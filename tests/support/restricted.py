"""What is wrong with a pod: by Kubernetes' profile "restricted", and by what good charts do."""

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim"}
VOLUMES |= {"projected", "secret"}


def flaws(name, pod):
    """A sentence for each thing that a pod should not be allowed, or lacks."""
    found = [f"{name} has {key}" for key in ("hostNetwork", "hostPID", "hostIPC") if pod.get(key)]
    security = pod.get("securityContext", {})
    if security.get("runAsNonRoot") is not True or not security.get("runAsUser"):
        found.append(f"{name} may run as root")
    if security.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        found.append(f"{name} may call what it likes of the kernel")
    if pod.get("automountServiceAccountToken") is not False:
        found.append(f"{name} is given a token")
    if pod.get("enableServiceLinks") is not False:
        found.append(f"{name} is told of every Service")
    kinds = {kind for volume in pod.get("volumes", []) for kind in volume.keys() - {"name"}}
    found += [f"{name} mounts a {kind}" for kind in sorted(kinds - VOLUMES)]
    for one in [*pod.get("initContainers", []), *pod["containers"]]:
        found += _of_container(f"{name}/{one['name']}", one)
    return found + _of_names(name, pod)


def _of_container(name, one):
    security = one.get("securityContext", {})
    wanted = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    found = [
        f"{name}: {key} is {security.get(key)}"
        for key, value in wanted.items()
        if security.get(key) != value
    ]
    found += [f"{name}: {key}" for key in ("privileged", "procMount") if security.get(key)]
    if security.get("runAsUser", 1) == 0 or security.get("runAsNonRoot", True) is not True:
        found.append(f"{name} runs as root")
    resources = one.get("resources", {})
    if not {"cpu", "memory"} <= resources.get("requests", {}).keys():
        found.append(f"{name} requests nothing")
    if "memory" not in resources.get("limits", {}):
        found.append(f"{name} may take all memory")
    if [port for port in one.get("ports", []) if "hostPort" in port]:
        found.append(f"{name} takes a port of the machine")
    tag = one["image"].rpartition(":")[2]
    if "@sha256:" not in one["image"] and (tag == "latest" or "/" in tag or tag == one["image"]):
        found.append(f"{name}: {one['image']} may be another one tomorrow")
    return found


def _of_names(name, pod):
    """What the API server refuses, or one of two silently wins."""
    found = []
    every = [*pod.get("initContainers", []), *pod["containers"]]
    lists = {
        "containers": [one["name"] for one in every],
        "volumes": [volume["name"] for volume in pod.get("volumes", [])],
        "ports": [p["containerPort"] for one in pod["containers"] for p in one.get("ports", [])],
    }
    for one in every:
        lists[f"{one['name']}'s variables"] = [v["name"] for v in one.get("env", [])]
        lists[f"{one['name']}'s mounts"] = [m["mountPath"] for m in one.get("volumeMounts", [])]
    for what, names in lists.items():
        if len(names) != len(set(names)):
            found.append(f"{name}: the same twice in {what}: {names}")
    return found
