"""Who we are to a broker that asks for keys: an nkey, whose seed lies in a file of its own."""

import os
import secrets
from collections.abc import Iterable
from pathlib import Path

import nkeys  # type: ignore[import-untyped]

from seaway.errors import SettingsError

SUFFIX = ".nk"


def keep_keys(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return each name's public key; who has none yet is given one, which only we can read.

    The seeds lie in the folder, one file for each name. Raises SettingsError for a file that
    holds something else.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return {name: _public_key(_kept(key_file(folder, name))) for name in names}


def key_file(folder: Path, name: str) -> Path:
    """Return where `keep_keys` keeps the seed of a name."""
    return folder / f"{name}{SUFFIX}"


def _kept(path: Path) -> Path:
    if not path.exists():
        seed = nkeys.encode_seed(secrets.token_bytes(32), nkeys.PREFIX_BYTE_USER)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(seed)
    return path


def _public_key(path: Path) -> str:
    try:
        return str(nkeys.from_seed(bytearray(path.read_bytes().strip())).public_key.decode())
    except (nkeys.NkeysError, ValueError) as error:
        raise SettingsError(f"{path} holds no nkey's seed") from error
