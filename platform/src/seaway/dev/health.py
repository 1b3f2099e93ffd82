"""Asking a program on this machine whether it is ready."""

import asyncio


async def ask_health(port: int, path: str) -> tuple[int, str]:
    """Return the HTTP status and the body; 0 and nothing if nobody answers within a second."""
    try:
        async with asyncio.timeout(1):
            head, _, body = (await _get(port, path)).partition(b"\r\n\r\n")
            match head.split(maxsplit=2):
                case [_, status, *_] if status.isdigit():
                    return int(status), body.decode(errors="replace").strip()
    except (OSError, TimeoutError):
        pass
    return 0, ""


async def _get(port: int, path: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n".encode())
        return await reader.read()
    finally:
        writer.close()
