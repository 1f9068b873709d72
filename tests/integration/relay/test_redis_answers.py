"""A server, or what stands before it, that answers a batch with what the script never says."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from outbox_operator.adapters.redis.scripts import APPEND
from support.redis_outbox import RedisOutbox
from support.waiting import eventually

pytestmark = pytest.mark.integration


class Liar:
    """Passes all on but the first batch, which it keeps and answers itself."""

    def __init__(self, port: int, answer: bytes) -> None:
        self.port, self.answer, self.seen = port, answer, 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up, down = await asyncio.open_connection("127.0.0.1", self.port)

        async def back() -> None:
            with contextlib.suppress(Exception):
                while data := await up.read(65536):
                    writer.write(data)
            writer.close()

        task = asyncio.create_task(back())
        try:
            while True:
                line = await reader.readline()
                texts, raw = [], [line]
                for _ in range(int(line[1:])):
                    head = await reader.readline()
                    text = await reader.readexactly(int(head[1:]) + 2)
                    texts.append(text[:-2])
                    raw += [head, text]
                if texts[0] == b"EVALSHA" and texts[1] == APPEND.digest.encode():
                    self.seen += 1
                    if self.seen == 1:
                        writer.write(self.answer)
                        continue
                down.write(b"".join(raw))
        except Exception:  # noqa: BLE001
            down.close()
            writer.close()
        finally:
            await task


@pytest.mark.parametrize(
    "answer",
    [b"+OK\r\n", b"*3\r\n$2\r\nOK\r\n:0\r\n$0\r\n\r\n", b"*3\r\n$2\r\nOK\r\n:7\r\n$0\r\n\r\n"],
    ids=["word", "none", "more"],
)
async def test_what_was_not_stored_is_sent_again(shared: RedisOutbox, answer: bytes) -> None:
    liar = Liar(shared.redis.port, answer)
    server = await asyncio.start_server(liar.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    relay = await shared.relay(redis={"url": f"redis://127.0.0.1:{port}"}).start().active()
    await shared.add("a", value=0)
    await eventually(lambda: liar.seen, "a batch is kept from the server")
    await shared.add("a", value=1)

    async def all_stored() -> bool:
        stored = [one.fields["Ce-Id"] for one in await shared.entries()]
        return stored == await shared.event_ids()

    await eventually(all_stored, "both are there, in order")
    relay.terminate()
    server.close()
