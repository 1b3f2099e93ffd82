"""The door between a program that is tried and its dependency."""

import asyncio

from seaway.conformance.obstacle import door_to


class Tap:
    def stir(self):
        pass


async def test_a_door_that_is_held_does_not_even_hang_up():
    hung_up = asyncio.Event()

    async def hangs_up(_, writer):
        writer.close()
        await writer.wait_closed()
        hung_up.set()

    server = await asyncio.start_server(hangs_up, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, door_to(address, Tap()) as door:
        await door.hold()
        hung_up.clear()  # on whoever looked whether somebody is there
        reader, writer = await asyncio.open_connection("127.0.0.1", door.ours)
        heard = asyncio.create_task(reader.read())
        await hung_up.wait()
        done, _ = await asyncio.wait({heard}, timeout=0.3)
        assert not done
        await door.release()
        async with asyncio.timeout(30):
            assert await heard == b""
        writer.close()
