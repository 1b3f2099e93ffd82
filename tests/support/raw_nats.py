"""A message as no client would send it: header lines that are no text, or have no proper name."""

import asyncio
from urllib.parse import urlsplit


async def publish(url, subject, headers, data=b""):
    """Send one; `headers` are whole lines, as bytes. Returns when the broker has read it."""
    head = b"NATS/1.0\r\n" + b"".join(line + b"\r\n" for line in headers) + b"\r\n"
    sizes = f"{len(head)} {len(head) + len(data)}"
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    try:
        writer.write(b'CONNECT {"verbose":false,"headers":true}\r\n')
        writer.write(f"HPUB {subject} {sizes}\r\n".encode() + head + data + b"\r\nPING\r\n")
        async with asyncio.timeout(10):
            while not (line := await reader.readline()).startswith(b"PONG"):
                assert line.startswith(b"INFO"), line
    finally:
        writer.close()
        await writer.wait_closed()
