"""What `make images` has built."""

import docker
import pytest
from composed import OURS
from containers import image_of

MEGABYTE = 1_000_000
LARGEST = {"data-warehouse": 350}
OTHERWISE = 200

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=OURS)
def image(request):
    engine = docker.from_env()
    yield request.param, engine.images.get(image_of(request.param)).attrs
    engine.close()


def test_it_is_small(image, capsys):
    name, built = image
    size = built["Size"] / MEGABYTE
    with capsys.disabled():
        print(f"\n{name}: {size:.0f} MB")
    assert size < LARGEST.get(name, OTHERWISE)


def test_it_says_what_it_is_and_is_nobody_s(image):
    name, built = image
    config = built["Config"]
    labels = {
        key.removeprefix("org.opencontainers.image."): v for key, v in config["Labels"].items()
    }
    assert labels["title"] == f"seaway {name.replace('-', '_')}"
    assert len(labels["revision"]) == 40
    assert labels["licenses"] == "Apache-2.0"
    assert labels["base.name"]
    assert config["User"] == "10001:10001"
    assert config["StopSignal"] == "SIGTERM"
    assert config["Entrypoint"] == ["/opt/seaway/bin/service"]
    assert config["Cmd"] is None
