"""The transport beside others: two processes on this machine, every packet encrypted, both run in turn.

    bulk_vs_aioquic    so many MB in 1400-byte packets through the public API, SHA-256 equal at both ends, against
                       aioquic (QUIC in Python, its default settings) doing the same on one stream
    rtt_vs_bare_udp    the median of a request of 100 bytes and its answer, against a bare UDP socket on trio that
                       seals nothing and waits for nothing else

The clock starts when the session stands and stops when the receiver has said that all of it is there; hashes are
compared after that. `python -m benchmarks transport --json` runs it.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import math
import os
import random
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MB = 1_000_000
BULK_MB = 192  # of ours; a second or less
AIOQUIC_MB = 24  # of theirs: as long
MESSAGE_BYTES = 256 << 10  # of one message, as catch-up sends
REQUESTS = 3000
PACKET_BYTES = 1400
_INDEX = struct.Struct(">I")


def measure(*, rounds: int = 3) -> dict[str, dict[str, Any]]:
    """The rows of this area."""
    ours, theirs, round_trips, bare = [], [], [], []
    for _ in range(rounds):
        ours.append(_pair("bulk", megabytes=BULK_MB)["megabytes_per_s"])
        theirs.append(_pair("aioquic", megabytes=AIOQUIC_MB)["megabytes_per_s"])
        round_trips.append(_pair("requests")["microseconds"])
        bare.append(_pair("bare")["microseconds"])
    return {
        "bulk_vs_aioquic": _row(ours, theirs, "MB/s", "x"),
        "rtt_vs_bare_udp": _row(round_trips, bare, "us", "x (less is better)"),
    }


def _row(ours: list[float], theirs: list[float], measured_in: str, unit: str) -> dict[str, Any]:
    mine, other = statistics.median(ours), statistics.median(theirs)
    return {
        "value": round(mine / other, 2), "unit": unit, "ours": round(mine, 2), "theirs": round(other, 2),
        "measured_in": measured_in, "rounds": len(ours),
    }  # fmt: skip


def _pair(kind: str, *, megabytes: int = 0) -> dict[str, Any]:
    """Run a receiver and a sender of one kind, each a process of its own; what the sender measured."""
    with tempfile.TemporaryDirectory() as directory:
        common = [sys.executable, "-m", "benchmarks.transport", "--kind", kind, "--directory", directory]
        common += ["--megabytes", str(megabytes)]
        with subprocess.Popen([*common, "--receive"], stdout=subprocess.PIPE, text=True) as receiver:
            try:
                assert receiver.stdout is not None
                told = receiver.stdout.readline().split()
                done = subprocess.run(
                    [*common, "--port", told[0], "--key", told[1]], stdout=subprocess.PIPE, text=True, timeout=300,
                    check=True,
                )  # fmt: skip
                result = json.loads(done.stdout)
                if "sha256" in result:
                    assert receiver.stdout.readline().strip() == result["sha256"], "what arrived is not what was sent"
            finally:
                receiver.terminate()
        return dict(result)


# -- ours


class Ours:
    """One endpoint on one real port, driven by the node's pump."""

    def __init__(self, handle: Callable[[Any, float], None], *, packet_bytes: int = PACKET_BYTES) -> None:
        from transport import noise
        from transport.endpoint import Endpoint
        from transport.settings import Settings

        private = os.urandom(32)
        self.key = noise.public_key(private)
        self.handle = handle
        settings = Settings(packet_bytes=packet_bytes, loopback_packet_bytes=packet_bytes)
        psks = {bytes(16): bytes(32)}
        self.endpoint = Endpoint(private, b"benchmark", psks.get, random.SystemRandom(), settings)

    async def run(self, ready: Callable[[], None]) -> None:
        from node.pump import Pump
        from transport.sockets import UdpNetwork

        port = await UdpNetwork().open_datagram_port("127.0.0.1", 0)
        self.port = port.address[1]
        self.pump = Pump(port, self.endpoint, (), self.handle)
        ready()
        await self.pump.run()


def receive_bulk(megabytes: int) -> None:
    """Keep what comes; say so when all is there, then tell its hash."""
    import trio

    from transport.events import MessageReceived

    whole = bytearray(megabytes * MB)
    whole[::4096] = bytes(len(range(0, len(whole), 4096)))  # have its pages now, not while the clock runs
    size = 0

    def handle(event: Any, now: float) -> None:
        nonlocal size
        if isinstance(event, MessageReceived):
            at = _INDEX.unpack_from(event.message)[0] * MESSAGE_BYTES
            part = memoryview(event.message)[_INDEX.size :]
            whole[at : at + len(part)] = part
            size += len(part)
            if size >= len(whole):
                ours.endpoint.send(event.connection, b"done", 0, now)
                ours.pump.touch()
                hashing.set()

    ours = Ours(handle)
    hashing = trio.Event()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ours.run, lambda: print(ours.port, ours.key.hex(), flush=True))
            await hashing.wait()
            await trio.sleep(0.05)  # the word that all is there leaves first
            print(hashlib.sha256(whole).hexdigest(), flush=True)

    trio.run(main)


def send_bulk(port: int, key: str, megabytes: int) -> dict[str, Any]:
    import trio

    from identity.errors import Exhausted
    from transport.events import Closed, Connected, Drained, MessageReceived

    chunk = os.urandom(MESSAGE_BYTES)
    total = megabytes * MB
    pieces = [
        _INDEX.pack(index) + chunk[: min(MESSAGE_BYTES, total - index * MESSAGE_BYTES)]
        for index in range(math.ceil(total / MESSAGE_BYTES))
    ]
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece[_INDEX.size :])
    result: dict[str, Any] = {"sha256": digest.hexdigest()}
    waiting = pieces[::-1]
    began = 0.0

    def push(connection: int, now: float) -> None:
        try:
            while waiting:
                ours.endpoint.send(connection, waiting[-1], 3, now)
                waiting.pop()
        except Exhausted:
            pass

    def handle(event: Any, now: float) -> None:
        nonlocal began
        if isinstance(event, Connected):
            began = time.perf_counter()
            push(event.connection, now)
        elif isinstance(event, Drained):
            push(event.connection, now)
        elif isinstance(event, MessageReceived):
            result["megabytes_per_s"] = megabytes / (time.perf_counter() - began)
            figures = ours.endpoint.statistics(event.connection)
            assert figures is not None
            result["lost"], result["packets"] = figures.lost_packets, figures.sent_packets
            scope.cancel()
        elif isinstance(event, Closed):
            raise RuntimeError(event.reason)

    ours = Ours(handle)
    scope = trio.CancelScope()

    async def main() -> None:
        def ready() -> None:
            ours.endpoint.connect(("127.0.0.1", port), bytes.fromhex(key), trio.current_time())
            ours.pump.touch()

        with scope:
            await ours.run(ready)

    trio.run(main)
    return result


def answer_requests() -> None:
    import trio

    from transport.events import MessageReceived

    def handle(event: Any, now: float) -> None:
        if isinstance(event, MessageReceived):
            ours.endpoint.send(event.connection, event.message, 1, now)

    ours = Ours(handle)
    trio.run(ours.run, lambda: print(ours.port, ours.key.hex(), flush=True))


def ask(port: int, key: str) -> dict[str, Any]:
    import trio

    from transport.events import Connected, MessageReceived

    request = os.urandom(100)
    times: list[float] = []
    began = 0.0

    def handle(event: Any, now: float) -> None:
        nonlocal began
        if isinstance(event, MessageReceived):
            times.append(time.perf_counter() - began)
            if len(times) >= REQUESTS:
                scope.cancel()
                return
        if isinstance(event, (Connected, MessageReceived)):
            began = time.perf_counter()
            ours.endpoint.send(event.connection, request, 1, now)

    ours = Ours(handle)
    scope = trio.CancelScope()

    async def main() -> None:
        def ready() -> None:
            ours.endpoint.connect(("127.0.0.1", port), bytes.fromhex(key), trio.current_time())
            ours.pump.touch()

        with scope:
            await ours.run(ready)

    trio.run(main)
    return {"microseconds": statistics.median(times) * 1e6}


# -- bare UDP


def _bare_socket() -> socket.socket:
    bare = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bare.bind(("127.0.0.1", 0))
    bare.setblocking(False)
    return bare


def answer_bare() -> None:
    import trio

    async def main() -> None:
        bare = _bare_socket()
        print(bare.getsockname()[1], "-", flush=True)
        while True:
            await trio.lowlevel.wait_readable(bare)
            data, address = bare.recvfrom(2048)
            bare.sendto(data, address)

    trio.run(main)


def ask_bare(port: int) -> dict[str, Any]:
    import trio

    async def main() -> list[float]:
        bare = _bare_socket()
        bare.connect(("127.0.0.1", port))
        request = os.urandom(100)
        times = []
        for _ in range(REQUESTS):
            began = time.perf_counter()
            bare.send(request)
            await trio.lowlevel.wait_readable(bare)
            bare.recv(2048)
            times.append(time.perf_counter() - began)
        return times

    return {"microseconds": statistics.median(trio.run(main)) * 1e6}


# -- aioquic


def _certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate for localhost, made for this run."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    (directory / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (directory / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return directory / "certificate.pem", directory / "key.pem"


def receive_aioquic(directory: Path) -> None:
    from aioquic.asyncio import serve
    from aioquic.quic.configuration import QuicConfiguration

    certificate, key = _certificate(directory)
    configuration = QuicConfiguration(is_client=False)
    configuration.load_cert_chain(str(certificate), str(key))

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parts = []
        while part := await reader.read(1 << 16):
            parts.append(part)
        writer.write(b"done")
        writer.write_eof()
        digest = hashlib.sha256()
        for part in parts:
            digest.update(part)
        print(digest.hexdigest(), flush=True)

    tasks = set()

    def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.ensure_future(take(reader, writer)))

    async def main() -> None:
        bare = _bare_socket()
        port = bare.getsockname()[1]
        bare.close()
        await serve("127.0.0.1", port, configuration=configuration, stream_handler=handle)
        print(port, "-", flush=True)
        await asyncio.Event().wait()

    asyncio.run(main())


def send_aioquic(port: int, megabytes: int) -> dict[str, Any]:
    import ssl

    from aioquic.asyncio.client import connect
    from aioquic.quic.configuration import QuicConfiguration

    chunk = os.urandom(MB)
    digest = hashlib.sha256()
    for _ in range(megabytes):
        digest.update(chunk)
    configuration = QuicConfiguration(is_client=True, verify_mode=ssl.CERT_NONE)

    async def main() -> float:
        async with connect("127.0.0.1", port, configuration=configuration) as client:
            reader, writer = await client.create_stream()
            began = time.perf_counter()
            for _ in range(megabytes):
                writer.write(chunk)
            writer.write_eof()
            assert await reader.read() == b"done"
            return time.perf_counter() - began

    return {"megabytes_per_s": megabytes / asyncio.run(main()), "sha256": digest.hexdigest()}


def main() -> None:
    parser = argparse.ArgumentParser(description="one half of one measurement")
    parser.add_argument("--kind", required=True, choices=["bulk", "aioquic", "requests", "bare"])
    parser.add_argument("--receive", action="store_true")
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--megabytes", type=int)
    parser.add_argument("--port", type=int)
    parser.add_argument("--key")
    told = parser.parse_args()
    receive: dict[str, Callable[[], None]] = {
        "bulk": lambda: receive_bulk(told.megabytes),
        "aioquic": lambda: receive_aioquic(told.directory),
        "requests": answer_requests,
        "bare": answer_bare,
    }
    send: dict[str, Callable[[], dict[str, Any]]] = {
        "bulk": lambda: send_bulk(told.port, told.key, told.megabytes),
        "aioquic": lambda: send_aioquic(told.port, told.megabytes),
        "requests": lambda: ask(told.port, told.key),
        "bare": lambda: ask_bare(told.port),
    }
    if told.receive:
        receive[told.kind]()
    else:
        print(json.dumps(send[told.kind]()))


if __name__ == "__main__":
    main()
