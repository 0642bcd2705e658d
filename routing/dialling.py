"""Whom this server dials, and which connection to whom is kept: the direct half of `routing.router`.

    want(1.3) --> Dial(address 1) --failed--> Dial(address 2) --failed--> Unreachable(1.3, since)
                       |                                                        |
                    HELLO verified                                  pause 0.5-1 s, 1-2 s, .. 10-20 s, again
                       v
              handle_connected --> Reached      handle_closed --> Unreachable(1.3, since heard), dialled at once

Rules:

- A *kept* server (a neighbour) is dialled until it is there, with growing pauses; another one for one round each time
  it is wanted. Whoever finds us first is as good.
- Two connections that crossed: the one that the lesser id began survives, on both sides (`neighbours.keep_newer`).
- A sign of life from anywhere (`handle_restarted`) ends the pause: hearing anything resets back-off (DESIGN F4).
- Nothing is queued here for a server that is not reached; who waits is told `Unreachable` once per loss, and once per
  round for which somebody asked.
- At most `MAX_DIALS` dials are under way, each ends after `DIAL_S` at the latest.
- `Stuck` says that a round found nobody: a way by gateways, if there is one, is dialled by `dial_by_gateway`.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Sequence
from random import Random
from typing import Any

from identity.errors import LocalMistake
from identity.names import ServerId
from routing.addresses import EVEN_SOONER_S, MAX_SERVERS, Known, MayDial, pause_after
from routing.neighbours import Address, Happened, Neighbour, State, keep_newer
from routing.ways import Dial, Direct, Drop, NeighbourStatus, Nowhere, Reached, Stuck, Unreachable, status_of
from transport.events import is_routed

DIAL_S = 10.0  # a handshake is three messages, resent with growing pauses; the transport usually gives up before
EARLY_S = 0.5  # of a round in vain, until a way by gateways is looked for beside it
UNTOLD_S = 3.0  # and until whoever waits is told that the server is not reached; the round goes on
STAGGER_S = 0.25  # until the next address is tried beside it; the first that answers is taken (RFC 8305 section 5)
LASTING_S = 5.0  # a connection that ends sooner counts as a failed dial: who greets and hangs up is not hammered
MAX_DIALS = 32  # under way at once, so that a registry full of addresses is no flood


class _Effort:
    """What is done to reach one server."""

    __slots__ = ("answer_due", "at", "beside_until", "ends", "failed_rounds", "keep", "left", "lost_at", "told",
                 "tried_at", "why")  # fmt: skip

    def __init__(self) -> None:
        self.keep = False
        self.left: deque[Address] = deque()  # of this round
        self.failed_rounds = 0
        self.at = math.inf  # the next round
        self.ends = math.inf  # of the dial under way
        self.tried_at = -math.inf
        self.answer_due = False  # somebody asked, and is told how this round ends
        self.told = False  # that it is unreachable, since it was lost
        self.lost_at: float | None = None
        self.beside_until = -math.inf  # of the dial by gateways, when that was last begun
        self.why = ""


class Dialling:
    """Dials and judges: a machine (`identity.machine`)."""

    def __init__(self, own: ServerId, *, may_dial: MayDial, random: Random) -> None:
        self._own = own
        self._may_dial = may_dial
        self._random = random
        self._known: dict[ServerId, Known] = {}
        self._neighbours: dict[ServerId, Neighbour] = {}
        self._efforts: dict[ServerId, _Effort] = {}
        self._by_connection: dict[int, ServerId] = {}
        self._calling: dict[ServerId, None] = {}
        self._waiting: dict[ServerId, None] = {}  # for one of MAX_DIALS
        self._timers: list[tuple[float, ServerId]] = []
        self._outputs: list[Dial | Drop | Reached | Stuck | Unreachable] = []

    # -- the machine

    def deadline(self) -> float:
        return self._timers[0][0] if self._timers else math.inf

    def handle_deadline(self, now: float) -> None:
        while self._timers and self._timers[0][0] <= now:
            _, server = heapq.heappop(self._timers)
            self._look(server, now)

    def take_outputs(self) -> Sequence[Any]:
        outputs, self._outputs = self._outputs, []
        return outputs

    # -- what is known

    def know(self, server: ServerId, peer_key: bytes, addresses: Sequence[Address], now: float) -> None:
        """How `server` is reached, from a ticket, the configuration, its HELLO or its registry feed."""
        if server == self._own:
            return
        known = self._known.get(server)
        if known is None:
            if len(self._known) >= MAX_SERVERS:
                return  # nobody needs them all as neighbours; those wanted were told first
            known = self._known[server] = Known(server, peer_key)
        before = known.peer_key, known.in_order(self._may_dial)
        known.peer_key = peer_key
        known.tell(addresses)
        neighbour, effort = self._of(server, now)
        after = peer_key, known.in_order(self._may_dial)
        if after[1]:
            neighbour.become(Happened.LEARNED, now, "not dialled yet")
        if (effort.keep or effort.answer_due) and before != after and neighbour.state is State.SILENT:
            self._begin_round(server, now)

    def forget(self, server: ServerId, now: float) -> None:
        """Its certificate ended, or it moved: nobody is dialled there any more. A connection that stands is kept."""
        self._known.pop(server, None)
        neighbour, effort = self._of(server, now)
        neighbour.become(Happened.FORGOTTEN, now, "no address is known")
        self._end_dial(server, effort)
        effort.left.clear()
        effort.at = math.inf
        self._let_next_dial(now)

    # -- what is wanted

    def want(self, server: ServerId, now: float, *, keep: bool = True) -> None:
        """Reach this server: as a neighbour for good, or (`keep=False`) try one round now if it is not reached."""
        if server == self._own:
            raise LocalMistake("this server needs no way to itself")
        neighbour, effort = self._of(server, now)
        effort.keep = effort.keep or keep
        if neighbour.connected:
            return
        effort.answer_due = effort.answer_due or not keep
        if neighbour.state is State.CALLING or server in self._waiting:
            return
        if now - effort.tried_at < EVEN_SOONER_S:
            self._tell_unreachable(neighbour, effort, effort.why or "just tried", now)
        else:
            self._begin_round(server, now)

    def dial_by_gateway(self, server: ServerId, address: Address, now: float) -> None:
        """A way by gateways was found: call there (a routed address), if it is not there already, or called so."""
        neighbour, effort = self._of(server, now)
        known = self._known.get(server)
        if known is None or neighbour.connected or now < effort.beside_until:
            return
        effort.beside_until = now + DIAL_S
        self._outputs.append(Dial(server, address, known.peer_key))
        if neighbour.state is State.CALLING or server in self._waiting:  # beside that: the first that answers is taken
            return
        neighbour.become(Happened.LEARNED, now, "reached by gateways only")
        neighbour.become(Happened.DIALLED, now)
        neighbour.address = address
        effort.left.clear()
        effort.at, effort.tried_at, effort.ends = math.inf, now, now + DIAL_S
        self._calling[server] = None
        self._set_timer(server, effort.ends)

    def missed(self, now: float) -> list[ServerId]:
        """Neighbours that are not there, and were not called just now: of those `Stuck` tells."""
        kept = [(each, effort.tried_at) for each, effort in self._efforts.items() if effort.keep]
        return [each for each, at in kept if not self._neighbours[each].connected and now - at >= EARLY_S]

    def dialable(self, server: ServerId) -> list[Address]:
        return self._known[server].in_order(self._may_dial) if server in self._known else []

    def others(self) -> list[ServerId]:
        """Everybody of whom an address is known that may be dialled."""
        return [each for each, known in self._known.items() if known.in_order(self._may_dial)]

    def address(self, server: ServerId) -> Address | None:
        """Where it is, or is being dialled."""
        return self._neighbours[server].address if server in self._neighbours else None

    def server_on(self, connection: int) -> ServerId | None:
        """Who is reached by that connection."""
        return self._by_connection.get(connection)

    def release(self, server: ServerId, now: float) -> None:
        """It is no neighbour any more. A connection that stands is not closed."""
        effort = self._efforts.get(server)
        if effort is not None:
            effort.keep, effort.at = False, math.inf

    # -- what happened

    def handle_connected(
        self, connection: int, server: ServerId, initiator: bool, address: Address, now: float, *, epoch: int = 0
    ) -> None:
        """Who is at the other end has proven it. `initiator`: we began; `epoch`: the run of the peer, by its HELLO."""
        neighbour, effort = self._of(server, now)
        old = neighbour.connection
        if old is not None and not keep_newer(
            mine=self._own, theirs=server, old_initiator=neighbour.initiator, new_initiator=initiator,
            apart_s=now - neighbour.connection_since, restarted=epoch > neighbour.connection_epoch,
        ):  # fmt: skip
            self._outputs.append(Drop(connection, f"another connection to {server} is kept"))
            return
        if old is not None:
            del self._by_connection[old]
            self._outputs.append(Drop(old, f"a newer connection to {server} is kept"))
        self._end_dial(server, effort)
        neighbour.become(Happened.GREETED, now)
        neighbour.connection = connection
        neighbour.connection_since = neighbour.heard_at = now
        neighbour.connection_epoch = epoch
        neighbour.initiator = initiator
        neighbour.address = address
        self._by_connection[connection] = server
        if initiator and server in self._known:
            self._known[server].worked(address)
        effort.left.clear()
        effort.at, effort.beside_until = math.inf, -math.inf
        effort.answer_due = effort.told = False
        effort.lost_at = None
        self._outputs.append(Reached(server, connection))
        self._set_timer(server, neighbour.next_look(now))
        self._let_next_dial(now)

    def handle_dial_failed(self, server: ServerId, address: Address, reason: str, now: float) -> None:
        """No answer, a wrong key, or somebody else's HELLO at that address."""
        known = self._known.get(server)
        if known is not None:
            known.failed(address)
        neighbour, effort = self._of(server, now)
        if is_routed(address):
            effort.beside_until = -math.inf
        if neighbour.state is State.CALLING and neighbour.address == address:
            self._end_dial(server, effort)
            effort.why = f"{address[0]}:{address[1]}: {reason}"
            self._dial_next(server, now)

    def handle_closed(self, connection: int, reason: str, now: float) -> None:
        """A connection is over. One that was dropped here, or never told of, is no news."""
        server = self._by_connection.pop(connection, None)
        if server is None:
            return
        neighbour, effort = self._of(server, now)
        heard_at = neighbour.heard_at
        lasted = now - neighbour.connection_since >= LASTING_S
        neighbour.become(Happened.LOST, now, reason)
        effort.lost_at = now if heard_at is None else heard_at
        effort.why = reason
        self._tell_unreachable(neighbour, effort, reason, now)
        if server not in self._known or not self._known[server].in_order(self._may_dial):
            neighbour.become(Happened.FORGOTTEN, now, reason)
        elif lasted:
            effort.failed_rounds = 0
            if effort.keep:
                self._begin_round(server, now)  # most losses are a restart, or a rebinding of an address
        else:
            self._pause(server, effort, now)

    def handle_heard(self, server: ServerId, now: float) -> None:
        """Something of it came directly."""
        neighbour = self._neighbours.get(server)
        if neighbour is not None and neighbour.connected:
            neighbour.heard_at = now
            if neighbour.state is State.DOUBTED:
                neighbour.become(Happened.HEARD, now)
                self._set_timer(server, neighbour.next_look(now))

    def handle_heard_us(self, server: ServerId, at: float, now: float) -> None:
        """It told that it heard us directly, `at` by our monotonic clock."""
        neighbour = self._neighbours.get(server)
        if neighbour is not None and at <= now and at > (neighbour.hears_us_at or -math.inf):
            neighbour.hears_us_at = at

    def handle_srtt(self, server: ServerId, seconds: float) -> None:
        neighbour = self._neighbours.get(server)
        if neighbour is not None and neighbour.connected:
            neighbour.srtt_s = seconds

    def handle_restarted(self, server: ServerId, now: float) -> None:
        """Somebody says that it is alive: no reason to wait any longer."""
        effort = self._efforts.get(server)
        if effort is None or not effort.keep:
            return
        effort.failed_rounds = 0
        if self._neighbours[server].state is State.SILENT and now - effort.tried_at >= EVEN_SOONER_S:
            self._begin_round(server, now)

    # -- questions

    def route(self, server: ServerId, now: float) -> Direct | Nowhere:
        """The next step for a message to `server`."""
        neighbour = self._neighbours.get(server)
        if neighbour is None:
            return Nowhere("no address is known", now)
        if neighbour.connection is not None:
            return Direct(neighbour.connection)
        effort = self._efforts[server]
        since = neighbour.since if effort.lost_at is None else effort.lost_at
        calling = neighbour.state is State.CALLING or server in self._waiting
        return Nowhere(effort.why or neighbour.reason or "not dialled yet", since, calling)

    def neighbours(self, now: float) -> list[NeighbourStatus]:
        """Every server that was ever wanted, known or greeted, in the order of names."""
        found = []
        for server in sorted(self._neighbours):
            each, effort = self._neighbours[server], self._efforts[server]
            found.append(status_of(each, kept=effort.keep, why=effort.why, now=now))
        return found

    # -- efforts

    def _of(self, server: ServerId, now: float) -> tuple[Neighbour, _Effort]:
        neighbour = self._neighbours.get(server)
        if neighbour is None:
            neighbour = self._neighbours[server] = Neighbour(server, now)
            self._efforts[server] = _Effort()
        return neighbour, self._efforts[server]

    def _set_timer(self, server: ServerId, at: float) -> None:
        if at < math.inf:
            heapq.heappush(self._timers, (at, server))

    def _look(self, server: ServerId, now: float) -> None:
        """A timer of this server went off; what it was set for may be past."""
        neighbour, effort = self._of(server, now)
        if neighbour.state is State.HEARD:
            if neighbour.quiet_at() <= now:
                neighbour.become(Happened.QUIET, now, "nothing heard")
            else:
                self._set_timer(server, neighbour.next_look(now))
        elif neighbour.state is State.CALLING and effort.ends > now:
            if now - effort.tried_at >= UNTOLD_S:
                self._tell_unreachable(neighbour, effort, effort.why or "no answer yet", now)
            elif now - effort.tried_at >= EARLY_S:
                self._outputs.append(Stuck(server))
        elif neighbour.state is State.CALLING:
            assert neighbour.address is not None
            self.handle_dial_failed(server, neighbour.address, "no answer", now)
        elif neighbour.state is State.SILENT and effort.at <= now and effort.keep:
            self._begin_round(server, now)

    def _begin_round(self, server: ServerId, now: float) -> None:
        neighbour, effort = self._of(server, now)
        effort.at = math.inf
        effort.tried_at = now
        known = self._known.get(server)
        effort.left = deque(known.in_order(self._may_dial) if known else ())
        if effort.left:
            self._set_timer(server, now + EARLY_S)
            self._set_timer(server, now + UNTOLD_S)
            self._dial_next(server, now)
        else:
            effort.why = "no address is known" if known is None else "no address that may be dialled is known"
            self._outputs.append(Stuck(server))
            self._tell_unreachable(neighbour, effort, effort.why, now)
            if known is not None:
                self._pause(server, effort, now)  # gateways may come up

    def _dial_next(self, server: ServerId, now: float) -> None:
        neighbour, effort = self._of(server, now)
        if effort.left and len(self._calling) >= MAX_DIALS:
            self._waiting[server] = None
            return
        known = self._known.get(server)
        if effort.left and known is not None:
            address = effort.left.popleft()
            neighbour.become(Happened.DIALLED, now)
            neighbour.address = address
            self._calling[server] = None
            effort.ends = now + (STAGGER_S if effort.left else DIAL_S)
            self._set_timer(server, effort.ends)
            self._outputs.append(Dial(server, address, known.peer_key))
            return
        neighbour.become(Happened.FAILED, now, effort.why)
        self._outputs.append(Stuck(server))
        self._tell_unreachable(neighbour, effort, effort.why, now)
        self._pause(server, effort, now)
        self._let_next_dial(now)

    def _pause(self, server: ServerId, effort: _Effort, now: float) -> None:
        effort.failed_rounds += 1
        if effort.keep:
            effort.at = now + pause_after(effort.failed_rounds, self._random)
            self._set_timer(server, effort.at)

    def _end_dial(self, server: ServerId, effort: _Effort) -> None:
        self._calling.pop(server, None)
        self._waiting.pop(server, None)
        effort.ends = math.inf

    def _let_next_dial(self, now: float) -> None:
        while self._waiting and len(self._calling) < MAX_DIALS:
            server = next(iter(self._waiting))
            del self._waiting[server]
            self._dial_next(server, now)

    def _tell_unreachable(self, neighbour: Neighbour, effort: _Effort, reason: str, now: float) -> None:
        if effort.told and not effort.answer_due:
            return
        effort.told, effort.answer_due = True, False
        since = neighbour.since if effort.lost_at is None else effort.lost_at
        self._outputs.append(Unreachable(neighbour.server, min(since, now), reason))
