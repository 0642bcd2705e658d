"""Real UDP on the loopback: whole transfers with and without segmentation, and every error a socket can tell."""

from __future__ import annotations

import errno
import hashlib
import random
import socket
from typing import Any

import pytest
import trio

from identity.errors import Exhausted, LocalMistake, Refused
from identity.machine import Batch
from transport import noise, sockets
from transport.endpoint import Endpoint
from transport.events import Connected, Event, MessageReceived
from transport.ports import MAX_READ_BYTES, Address
from transport.settings import Settings
from transport.sockets import UdpNetwork, UdpPort


class Loop:
    """The caller's loop in its shortest form: one endpoint on one port."""

    def __init__(self, settings: Settings) -> None:
        private = random.randbytes(32)
        self.key = noise.public_key(private)
        self.endpoint = Endpoint(private, b"test", {bytes(16): bytes(32)}.get, random.SystemRandom(), settings)
        self.events: list[Event] = []
        self.came = trio.Event()  # a message

    async def run(self, network: UdpNetwork, task_status: trio.TaskStatus[Address]) -> None:
        port = await network.open_datagram_port("127.0.0.1", 0)
        buffer = memoryview(bytearray(MAX_READ_BYTES))
        task_status.started(port.address)
        while True:
            now = trio.current_time()
            while (got := port.receive_into(buffer)) is not None:
                self.endpoint.handle_datagrams(buffer[: got[0]], got[1], got[2], now)
            if self.endpoint.deadline() <= now:
                self.endpoint.handle_deadline(now)
            self.events += self.endpoint.take_outputs()
            if any(isinstance(each, MessageReceived) for each in self.events):
                self.came.set()
            while (batch := self.endpoint.transmit(now)) is not None:
                while not port.send_batch(batch):
                    await port.wait_writable()
            with trio.move_on_at(min(self.endpoint.deadline(), now + 0.05)):
                await port.wait_readable()


@pytest.mark.parametrize("packet_bytes", [1400, 16_384])
@pytest.mark.parametrize("plain", [(False, False), (True, False), (False, True), (True, True)])
async def test_a_transfer_between_two_ports(plain: tuple[bool, bool], packet_bytes: int) -> None:
    """Who segments and who does not understand each other."""
    data = random.Random(1).randbytes(3_000_000)
    settings = Settings(loopback_packet_bytes=packet_bytes)
    left, right = Loop(settings), Loop(settings)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(left.run, UdpNetwork(plain=plain[0]))
            address = await nursery.start(right.run, UdpNetwork(plain=plain[1]))
            number = left.endpoint.connect(address, right.key, trio.current_time())
            left.endpoint.send(number, data, 3, trio.current_time())
            await right.came.wait()
            nursery.cancel_scope.cancel()
    (came,) = [each for each in right.events if isinstance(each, MessageReceived)]
    assert hashlib.sha256(came.message).digest() == hashlib.sha256(data).digest()
    assert any(isinstance(each, Connected) for each in right.events)


class Socket:
    """A socket that answers what it is told to."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.sent: list[bytes] = []

    def fileno(self) -> int:
        return 7

    def _answer(self) -> Any:
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def sendmsg(self, buffers: list[memoryview], *rest: object) -> None:
        self._answer()
        self.sent.append(bytes(buffers[0]))

    def sendto(self, data: memoryview, address: Address) -> None:
        self._answer()
        self.sent.append(bytes(data))

    def recvmsg_into(self, *rest: object) -> Any:
        return self._answer()

    recvfrom_into = recvmsg_into


def told(code: int) -> OSError:
    return OSError(code, errno.errorcode[code])


async def port_on(fake: Socket, *, segments: bool = True) -> UdpPort:
    port = await UdpNetwork().open_datagram_port("127.0.0.1", 0)
    port._socket.close()
    port._socket = fake  # type: ignore[assignment]
    port.segments = port.coalesces = segments
    return port


BATCH = Batch(memoryview(b"aaaabbbbcc"), 4, ("127.0.0.1", 9))


async def test_a_full_socket_goes_on_where_it_stopped() -> None:
    fake = Socket(None, told(errno.EAGAIN), None, told(errno.EAGAIN))
    port = await port_on(fake, segments=False)
    assert not port.send_batch(BATCH)
    assert not port.send_batch(BATCH)
    assert port.send_batch(BATCH)
    assert fake.sent == [b"aaaa", b"bbbb", b"cc"]
    assert port.send_batch(BATCH)
    assert fake.sent[3:] == [b"aaaa", b"bbbb", b"cc"]


async def test_a_full_socket_refuses_a_segmented_batch_whole() -> None:
    fake = Socket(told(errno.EAGAIN))
    port = await port_on(fake)
    assert not port.send_batch(BATCH)
    assert port.send_batch(BATCH)
    assert fake.sent == [b"aaaabbbbcc"]


@pytest.mark.parametrize("code", [errno.EIO, errno.EOPNOTSUPP])
async def test_a_device_that_cannot_segment_is_remembered(code: int) -> None:
    fake = Socket(told(code))
    port = await port_on(fake)
    assert port.send_batch(BATCH)
    assert fake.sent == [b"aaaa", b"bbbb", b"cc"]
    assert not port.segments


@pytest.mark.parametrize("code", [errno.EMSGSIZE, errno.EINVAL])
async def test_a_path_too_narrow_for_one_is_not_held_against_all(code: int) -> None:
    fake = Socket(told(code), told(errno.EMSGSIZE), None, None)
    port = await port_on(fake)
    assert port.send_batch(BATCH)
    assert fake.sent == [b"bbbb", b"cc"]
    assert port.segments
    assert port.lost_sending == 1


@pytest.mark.parametrize(
    "code", [errno.ENOBUFS, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EPERM, errno.ECONNREFUSED]
)
@pytest.mark.parametrize("segments", [False, True])
async def test_what_cannot_be_sent_is_lost_and_nothing_more(code: int, segments: bool) -> None:
    port = await port_on(Socket(told(code), told(code), told(code)), segments=segments)
    assert port.send_batch(BATCH)
    assert port.lost_sending == 3


async def test_a_port_number_that_there_is_not_is_lost_too() -> None:
    port = await UdpNetwork().open_datagram_port("127.0.0.1", 0)
    for batch in (BATCH, Batch(memoryview(b"x"), 1, BATCH.address)):
        assert port.send_batch(batch._replace(address=("127.0.0.1", 99_999)))
    assert port.lost_sending == 4
    port.close()


async def test_errors_about_earlier_datagrams_do_not_end_reading() -> None:
    came = (3, [], 0, ("127.0.0.1", 9))
    port = await port_on(Socket(told(errno.ECONNREFUSED), told(errno.EHOSTUNREACH), came))
    assert port.receive_into(memoryview(bytearray(MAX_READ_BYTES))) == (3, 3, ("127.0.0.1", 9))
    port = await port_on(Socket(*[told(errno.ECONNREFUSED)] * 1000))
    assert port.receive_into(memoryview(bytearray(MAX_READ_BYTES))) is None  # and others get their turn


async def test_an_empty_datagram_is_passed_over() -> None:
    port = await UdpNetwork().open_datagram_port("127.0.0.1", 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.sendto(b"", port.address)
        other.sendto(b"x", port.address)
    await port.wait_readable()
    got = port.receive_into(memoryview(bytearray(MAX_READ_BYTES)))
    assert got is not None
    assert got[:2] == (1, 1)
    port.close()


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (errno.EADDRINUSE, Refused, "in use"),
        (errno.EACCES, Refused, "may not be opened"),
        (errno.EADDRNOTAVAIL, Refused, "not an address of this machine"),
        (errno.EMFILE, Exhausted, "no room"),
        (errno.ENOTSOCK, LocalMistake, "cannot be opened"),
    ],
)
def test_why_a_port_cannot_be_opened_is_said(code: int, kind: type[Exception], words: str) -> None:
    error = sockets._refusal(("127.0.0.1", 7001), told(code))
    assert type(error) is kind
    assert words in str(error)
    assert "7001" in str(error) or code == errno.EADDRNOTAVAIL


async def test_a_host_that_is_none_is_refused() -> None:
    for host in ("203.0.113.7", "no.such.host.invalid"):
        with pytest.raises(Refused):
            await UdpNetwork().open_datagram_port(host, 0)


async def test_a_name_for_this_machine_becomes_digits() -> None:
    port = await UdpNetwork().open_datagram_port("localhost", 0)
    assert port.address[0] in ("127.0.0.1", "::1")
    assert port.address[1] > 0
    port.close()
