#!/usr/bin/env python3
"""Starts Firefox for Playwright, and passes on the WebDriver BiDi between the two.

Playwright sets the colour scheme of each new context, by a command that Firefox 153 does not know. The command becomes
one without an effect here. All else passes as it is.
"""

import asyncio
import re
import sys
from contextlib import suppress

ADDRESS = "127.0.0.1"
LISTENING = re.compile(rb"(?<=WebDriver BiDi listening on ws://127\.0\.0\.1:)\d+")
HOST = re.compile(rb"(?<=\r\nHost: 127\.0\.0\.1:)\d+")
UNKNOWN_COMMAND = re.compile(rb'\{"id":(\d+),"method":"emulation\.setMediaFeaturesOverride".*\}')


async def main() -> int:
    firefox = await asyncio.create_subprocess_exec("firefox-esr", *sys.argv[1:], stderr=asyncio.subprocess.PIPE)
    assert firefox.stderr
    async for line in firefox.stderr:
        port = LISTENING.search(line)
        told = LISTENING.sub(await listen(port[0]), line) if port else line
        sys.stderr.buffer.write(told)
        sys.stderr.buffer.flush()
    return await firefox.wait()


async def listen(firefox_port: bytes) -> bytes:
    """The port that stands for Firefox's own."""

    async def connect(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        reader, writer = await asyncio.open_connection(ADDRESS, int(firefox_port))
        handshake = await source.readuntil(b"\r\n\r\n")
        writer.write(HOST.sub(firefox_port, handshake))
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await asyncio.gather(pass_events(reader, target), pass_commands(source, writer))
        target.close()
        writer.close()

    server = await asyncio.start_server(connect, ADDRESS, 0)
    return b"%d" % server.sockets[0].getsockname()[1]


async def pass_events(firefox: asyncio.StreamReader, playwright: asyncio.StreamWriter) -> None:
    while data := await firefox.read(65536):
        playwright.write(data)
        await playwright.drain()
    playwright.close()


async def pass_commands(playwright: asyncio.StreamReader, firefox: asyncio.StreamWriter) -> None:
    """The frames of a client, each with a mask (RFC 6455, section 5.2). Playwright sends a command in one frame."""
    while True:
        head = await playwright.readexactly(2)
        size = head[1] & 0x7F
        longer = await playwright.readexactly({126: 2, 127: 8}.get(size, 0))
        size = int.from_bytes(longer, "big") if longer else size
        mask = await playwright.readexactly(4)
        text = masked(await playwright.readexactly(size), mask)
        if unknown := UNKNOWN_COMMAND.fullmatch(text):
            text = (b'{"id":%s,"method":"session.status","params":{}}' % unknown[1]).ljust(size)
        firefox.write(head + longer + mask + masked(text, mask))
        await firefox.drain()


def masked(text: bytes, mask: bytes) -> bytes:
    key = (mask * (len(text) // 4 + 1))[: len(text)]
    return (int.from_bytes(text, "big") ^ int.from_bytes(key, "big")).to_bytes(len(text), "big")


sys.exit(asyncio.run(main()))
