"""The Dockerfile, read: what each stage says."""

import re
import shlex

from locks import ROOT


def stages():
    """The instructions of the Dockerfile, stage by stage: (name, its words)."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    found = [[]]
    for name, _, words in (line.partition(" ") for line in lines):
        if name == "FROM":
            found.append([])
        found[-1].append((name, words))
    return found


HEAD, *MAKING, FINAL = stages()
BUILD = [instruction for stage in MAKING for instruction in stage]
"""All that is done before the image, in whichever stage."""


def said(stage, name):
    return [words for instruction, words in stage if instruction == name]


def environment(stage):
    pairs = [pair for words in said(stage, "ENV") for pair in shlex.split(words)]
    return dict(pair.split("=", 1) for pair in pairs)
