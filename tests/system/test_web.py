"""The front door for browsers, as README and `seaway dev` invite to it."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from urllib.request import urlopen

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

ROOT = Path(__file__).parents[2]
[CURL] = re.findall(r"^    (curl .*)$", (ROOT / "README.md").read_text(), re.MULTILINE)


def test_the_page_is_where_dev_says_and_curl_does_what_readme_says(develop, tmp_path):
    shutil.copy(ROOT / "seaway.toml", tmp_path)
    dev = develop()
    invitation = dev.says("Now open", within=90)
    [address] = re.findall(r"http://\S+/", invitation)
    assert address == f"http://127.0.0.1:{dev.port(8080)}/"
    with urlopen(address, timeout=30) as page:
        assert "<title>Sign up" in page.read().decode()
    [request_id] = re.findall(r"[0-9a-f-]{36}", CURL)
    told = ("--email", "ada@example.org", "--name", "Ada", "--request-id", request_id)
    assert dev.seaway("sign-up", *told, within=90).returncode == 0
    words = shlex.split(CURL.replace("8080", str(dev.port(8080))))
    answer = subprocess.run(words, capture_output=True, text=True, check=True, timeout=30)
    said = json.loads(answer.stdout)
    assert said["requestId"] == request_id
    assert said["state"] in {"STATE_CONFIRMED", "STATE_EMAILED"}
