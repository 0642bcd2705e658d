"""The parts of a running node, wired: every machine, who feeds it, and who carries out what it wants done.

    port <-> pump <-> endpoint <-> sessions <-> greeting, router
                                      |
                            outstanding, flood         by message type (node.dispatch)
                              |     |      |
                     requesting  serving  applier <-> store

Here stands which output goes to whom, and nothing else: each part says in its own file what it does. Made once at the
opening of a node, when store and port are open; `node.node` runs the tasks among them and ends them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING, Any

from identity.keys import Keys
from identity.names import ServerId
from identity.trust import network_id
from node.admitting import Admitting
from node.applying import Applier
from node.blocking import Blocking
from node.config import Config
from node.delivering import Delivering
from node.detours import Detours
from node.dialling import dial_rule
from node.directory import Directory, Entry
from node.farther import Farther
from node.greeting import NO_TICKET, Greeted, Greeting, Hello
from node.inviting import Inviting
from node.mirroring import Mirroring
from node.observing import Observe, watched, watched_commits
from node.owning import Owner
from node.posting import Posting
from node.pump import Pump
from node.recorded import Recorded
from node.reporting import VERSION
from node.requesting import Requesting
from node.requests import matches
from node.serving import Serving
from node.sessions import Note, Sessions
from node.standpoint import Standpoint, learn_registry
from node.watching import Watch
from replication.flood import Flood
from replication.messages import Apply, FeedId, Report
from replication.outbox import Outbox
from routing.router import Router
from routing.ways import Direct
from store.database import Committed, Database
from store.records import REGISTRY, Update
from transport.endpoint import Endpoint
from transport.outstanding import Outstanding
from transport.ports import DatagramPort
from transport.requests import Done
from transport.settings import Settings
from transport.wire import Message
from transport.words import Words

if TYPE_CHECKING:
    from routing.ways import Unreachable


class Parts:
    """All of them. `note(event, **details)` writes to the log; `idle()` is told when no peer's request is worked on."""

    def __init__(
        self,
        *,
        keys: Keys,
        chain: Sequence[bytes],
        config: Config,
        database: Database,
        port: DatagramPort,
        random: Random,
        wall_ms: Callable[[], int],
        note: Note,
        idle: Callable[[], None],
        settings: Settings | None,
        observe: Observe | None = None,
        now: float,
    ) -> None:
        self.server: ServerId = config.server
        self.config = config
        self.database = database
        self.port = port
        self.blocking = Blocking(port, self.is_at, config.blocked)
        self._chain = tuple(chain)
        self._wall_ms = wall_ms
        self._note = note
        self.kept: dict[ServerId, None] = {}  # those whom it wants a session with, reached or not
        self._nursery: Any = None
        self._observe = observe
        carry_out = watched(self._carry_out, observe)

        self.directory = Directory(self.server, roots=config.roots, wall_ms=wall_ms)
        self.directory.learn_chain(self._chain)
        self.router = Router(
            self.server,
            may_dial=dial_rule(config.local, config.addresses),
            random=random,
            knows=lambda server: self.directory.entry(server) is not None,
            may_forward=lambda source, target: matches(config.forward, source),
            gateways="gateways" not in config.without,
        )
        self.greeting = Greeting(
            self.server, prove_untrusted=self.directory.prove_untrusted, hello=self._hello, wall_ms=wall_ms
        )
        self.outstanding = Outstanding(self.server, database.incarnation, database.epoch)
        self.flood = Flood(
            self.server,
            database.incarnation,
            signing_key_of=self.directory.signing_key_of,
            introduce_untrusted=self.directory.introduce_untrusted,
            read_update=database.read_update,
            random=random,
        )
        self.inviting = Inviting(
            keys=keys,
            chain=chain,
            config=config,
            database=database,
            directory=self.directory,
            addresses=self.addresses,
            random=random,
            wall_ms=wall_ms,
        )
        network, copies = network_id(config.roots), "direct-copies" not in config.without
        self.endpoint = Endpoint(
            keys.exchange_private, network, self._find_secret, random, settings, now, copies=copies
        )
        self.admitting = Admitting(self.greeting, self.inviting, note=note, touch=self.touch)
        self.recorded = Recorded()
        self.sessions = Sessions(
            self.endpoint,
            self.greeting,
            self.router,
            self.outstanding,
            self.flood,
            note=note,
            learn=self._learn_greeted,
            joining=self.admitting.handle_message,
            lost=self._lost,
            done=self._done,
            routed=self._routed,
            carry_out=carry_out,
        )
        self.requesting = Requesting(
            self.server,
            self.outstanding,
            self.router,
            silent=self.sessions.silent.get,
            is_kept=self.kept.__contains__,
            misbehaved=self.misbehaved,
            touch=self.touch,
        )
        words = Words(
            self.server, exchange_key=keys.exchange_private, network=network, key_of=self._key_of, random=random
        )
        self.detours = Detours(
            self.router, self.endpoint, self.outstanding, self.requesting, words,
            connection=self.sessions.connection, note=note, misbehaved=self.misbehaved,
        )  # fmt: skip
        self.applier = Applier(self.flood, apply=database.apply, learn=self._learn_applied, touch=self.touch, note=note)
        self.mirroring = Mirroring(config.mirrors, database=database, flood=self.flood)
        self.standpoint = Standpoint(
            self.server,
            database=database,
            directory=self.directory,
            flood=self.flood,
            requesting=self.requesting,
            mirrors=self.mirroring.mirrors,
            silent_since=self._silent_since,
            reached=lambda server: self.sessions.connection(server) is not None,
            peers=self.sessions.peers,
            heard_at=self._heard_at,
            path_from=self._path_from,
            backs_up=self.mirroring.backs_up,
            without_mirrors="mirrors" in config.without,
            wall_ms=wall_ms,
        )
        self.owner = Owner(database=database, recorded=self.recorded, resolve=self.standpoint.resolve, note=note)
        self.delivering = Delivering(
            Outbox(),
            database=database,
            outstanding=self.outstanding,
            call=self._call,
            heard_s=self._heard_s,
            misbehaved=self.misbehaved,
            wall_ms=wall_ms,
            note=note,
            touch=self.touch,
        )
        self.posting = Posting(
            self.delivering,
            outstanding=self.outstanding,
            router=self.router,
            requesting=self.requesting,
            silent=self.sessions.silent.get,
            is_kept=self.kept.__contains__,
            is_known=self.is_known,
            incarnation_of=self.standpoint.incarnation_of,
            wall_ms=wall_ms,
            touch=self.touch,
            without="outbox" in config.without,
        )
        self.serving = Serving(
            config,
            self.owner,
            self.standpoint,
            self.outstanding,
            self.detours,
            misbehaved=self.misbehaved,
            wall_ms=wall_ms,
            note=note,
            idle=idle,
            touch=self.touch,
        )
        self.farther = Farther(self, is_kept=self.kept.__contains__, note=note, random=random)
        self.watch = Watch(self)
        self._carry: dict[type, Callable[[Any, float], None]] = {
            **self.sessions.outputs,
            **self.requesting.outputs,
            **self.posting.outputs,
            **self.detours.outputs,
            **self.serving.outputs,
            **self.farther.outputs,
            Apply: lambda output, now: self.applier.put(output),
            Report: self._report,
        }
        machines = (self.outstanding, self.greeting, self.router, self.flood, self.farther.machine)
        self.pump = Pump(self.blocking, self.endpoint, machines, carry_out)

    # -- opening

    def load(self, now: float) -> None:
        """What the store remembers: feeds, registry objects, mirrors, tickets, answers."""
        self.flood.load(self.database.feeds())
        with self.database.view() as view:
            for class_name in ("Server", "Class"):
                for stored in view.registry_objects(class_name):
                    self.directory.learn_object(stored.reference.server, stored.reference.object, stored)
            self.standpoint.load(view)
            self.mirroring.load(view, now=now)
            self.inviting.load(view)
            self.recorded.load(view)
            self.delivering.load(view, now=now)
        for server, direction in self.config.blocked.items():
            self._note("blocked", peer=str(server), direction=direction, blocked=direction)
        self.database.on_committed = watched_commits(
            self._committed, self._observe, database=self.database, clock=self.standpoint.now
        )
        for server, addresses in self.config.addresses.items():
            self.directory.learn_addresses(server, addresses)
            if self.directory.entry(server) is None:  # its key is not known yet: whoever proves to be it, is it
                self.router.know(server, b"", addresses, now)
                if self.config.connect.matches(server) and server != self.server:
                    self.kept[server] = None
                    self.router.want(server, now)
        self.tell_router(now)

    def start(self, nursery: Any) -> None:
        """Tasks that answer others run here."""
        self._nursery = nursery
        self.admitting.start(nursery)
        self.serving.start(nursery)

    # -- small things that several parts want

    def touch(self) -> None:
        self.pump.touch()

    def misbehaved(self, peer: ServerId, cause: str) -> None:
        self.sessions.misbehaved(peer, cause, self.standpoint.now())
        self.touch()

    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Where this server says it can be reached: as announced, else the port that was bound, unless it is any."""
        if self.config.announce:
            return self.config.announce
        host, port = self.port.address
        return () if host in ("0.0.0.0", "::") else ((host, port),)  # noqa: S104  # it is compared, not bound

    def is_known(self, server: ServerId) -> bool:
        """Whether this server could tell a packet of that one."""
        return self.directory.entry(server) is not None or server in self.config.addresses

    def is_at(self, server: ServerId, address: tuple[str, int]) -> bool:
        """Whether that server's direct session stands there, or it says, or is configured, to be there.

        Its word does not count where the session of another stands: a wrong claim harms nobody.
        """
        if self._direct_address(server) == address:
            return True
        entry = self.directory.entry(server)
        if address not in self.config.addresses.get(server, ()) and (entry is None or address not in entry.addresses):
            return False
        return all(self._direct_address(each) != address for each in self.sessions.peers())

    def _direct_address(self, server: ServerId) -> tuple[str, int] | None:
        way = self.router.route(server, self.standpoint.now())
        statistics = self.endpoint.statistics(way.connection) if isinstance(way, Direct) else None
        return None if statistics is None else statistics.address

    def tell_router(self, now: float) -> None:
        """Whom the directory has come to know: its keys and addresses, and whether it is to be a neighbour."""
        for entry in self.directory.take_changed():
            if entry.server == self.server:
                continue
            self._know(entry, now)
            if self.config.connect.matches(entry.server) and entry.server not in self.kept:
                self.kept[entry.server] = None
                self.router.want(entry.server, now)

    def _key_of(self, server: ServerId) -> bytes:
        entry = self.directory.entry(server)
        return b"" if entry is None else entry.certificate.exchange_key

    def _know(self, entry: Entry, now: float) -> None:
        configured = self.config.addresses.get(entry.server, ())
        addresses = tuple(dict.fromkeys((*configured, *entry.addresses)))
        self.router.know(entry.server, entry.certificate.exchange_key, addresses, now)

    def _find_secret(self, id: bytes) -> bytes | None:
        return self.config.secret if id == NO_TICKET else self.inviting.invitations.find_secret(id)

    def _hello(self) -> Hello:
        return Hello(self._chain, self.database.epoch, self._wall_ms(), self.addresses(), f"bangpath {VERSION}")

    def _path_from(self, server: ServerId) -> tuple[ServerId, ...]:
        return self.detours.path_from(server, self.standpoint.now()) or (server, self.server)

    def _heard_at(self, server: ServerId) -> float | None:
        connection = self.sessions.connection(server)
        statistics = None if connection is None else self.endpoint.statistics(connection)
        return None if statistics is None else statistics.heard_at

    def _silent_since(self, server: ServerId) -> float | None:
        if self.sessions.connection(server) is not None:
            return None
        lost = self.sessions.silent.get(server)
        return None if lost is None else lost.since

    # -- what happens

    def _carry_out(self, output: Any, now: float) -> None:
        self._carry[type(output)](output, now)

    def _learn_greeted(self, greeted: Greeted, now: float) -> None:
        self.directory.learn_addresses(greeted.server, greeted.hello.addresses)
        self.tell_router(now)

    def _learn_applied(self, update: Update) -> None:
        self.standpoint.handle_applied(update)
        if update.head.kind == REGISTRY:
            with self.database.view() as view:
                learn_registry(self.directory, view, (update,))
            self.tell_router(self.standpoint.now())

    def _committed(self, committed: Committed) -> None:
        if committed.seals:
            self.flood.handle_committed(committed.seals, self.standpoint.now())
            self.touch()

    def _lost(self, lost: Unreachable) -> None:
        self.requesting.handle_unreachable(lost, self.standpoint.now())
        self.posting.handle_unreachable(lost)

    def _heard_s(self, server: ServerId) -> float | None:
        """How long ago a server was alive, as whoever carries its registry feed tells."""
        feed = FeedId(server, self.standpoint.incarnation_of(server), REGISTRY)
        return self.flood.age(feed, self.standpoint.now())

    def _call(self, server: ServerId, now: float) -> None:
        """Look for a server that something waits for; neighbours are looked for anyway."""
        if server not in self.kept:
            self.router.want(server, now, keep=False)
            self.touch()

    def _routed(self, peer: ServerId, message: Message, now: float) -> None:
        self.detours.handle_message(peer, message, now)

    def _done(self, peer: ServerId, message: Done) -> None:
        self.recorded.handle_done(peer, message)

    def _report(self, output: Report, now: float) -> None:
        if output.event == "misbehaved" and "peer" in output.details:
            self.misbehaved(ServerId.parse(str(output.details["peer"])), str(output.details.get("cause", "")))
        else:
            details = dict(output.details)
            if "server" in details:  # whose feed it is about; `server` in the log is who writes it
                details["owner"] = details.pop("server")
            self._note(output.event, **details)
            if output.event == "forked":
                self._nursery.start_soon(self.mirroring.keep_proofs)
