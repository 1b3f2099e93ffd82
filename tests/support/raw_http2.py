"""HTTP/2 by hand: what no client of gRPC would do."""

import asyncio
import struct
from contextlib import asynccontextmanager, suppress

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, StreamEnded, StreamReset

PATH = "/acme.gateway.v1.SignUpService/"
READ = 65_536


class Raw:
    """One connection, and what became of its streams."""

    def __init__(self, reader, writer):
        self.ended = set()
        """Streams that the server has ended, one way or the other."""
        self.told_to_go = None
        """Why the server wants no more of this connection, as HTTP/2 counts reasons."""
        self.received = 0
        """Bytes of answers."""
        self._reader = reader
        self._writer = writer
        self._h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._h2.initiate_connection()

    @property
    def is_open(self):
        return not self._writer.is_closing()

    def begin(self, method, message=None, *, end=True):
        """Begin a call; without a message its request never comes. Returns the stream."""
        stream = self._h2.get_next_available_stream_id()
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", PATH + method),
            (":authority", "127.0.0.1"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
        ]
        self._h2.send_headers(stream, headers)
        if message is not None:
            body = message.SerializeToString()
            self.send(stream, struct.pack(">BI", 0, len(body)) + body, end=end)
        return stream

    def send(self, stream, data, *, end=False):
        self._h2.send_data(stream, data, end_stream=end)

    def room(self, stream):
        """How many bytes the server would take now."""
        return min(self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size)

    def reset(self, stream):
        self._h2.reset_stream(stream, error_code=8)

    def ping(self):
        self._h2.ping(b"are you?")

    async def flush(self):
        self._writer.write(self._h2.data_to_send())
        await self._writer.drain()

    async def listen(self):
        """Take in what the server says, up to the end of the connection."""
        with suppress(ConnectionError):
            while data := await self._reader.read(READ):
                for event in self._h2.receive_data(data):
                    match event:
                        case DataReceived():
                            self.received += len(event.data)
                            self._h2.acknowledge_received_data(
                                event.flow_controlled_length, event.stream_id
                            )
                        case ConnectionTerminated(error_code=code):
                            self.told_to_go = int(code)
                        case StreamEnded() | StreamReset():
                            self.ended.add(event.stream_id)
                await self.flush()
        self._writer.close()

    async def close(self):
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()


@asynccontextmanager
async def raw(port, *, listens=True):
    """Connect, and listen meanwhile, unless nothing that the server says is ever to be read."""
    connection = Raw(*await asyncio.open_connection("127.0.0.1", port))
    await connection.flush()
    listening = asyncio.create_task(connection.listen() if listens else asyncio.sleep(0))
    try:
        yield connection
    finally:
        await connection.close()
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
