"""Sessions: console and VNC over WebSockets, one holder at a time, and the console's log.

The wire protocol is the reference's, so that its clients work: one subprotocol, binary frames of raw bytes,
a Status before the upgrade. Beyond it, ``console?replay=BYTES&columns=N&rows=N`` first draws the screen that past
output left; ``takeover=false`` refuses instead of displacing who has the session, and
``log?tail=LINES&follow=true`` reads the console's log without taking the session from anyone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Literal

from aiohttp import web

from hyperd.api.sessions.lease import RENEW_SECONDS, Holder, SessionKind, SessionLease, client_name, current_holder
from hyperd.api.sessions.sending import Sending
from hyperd.api.sessions.stream import STOPPING, Goodbye, Stream, close, prepare_socket, splice, taken_over_by
from hyperd.api.sessions.target import flag, number, require_here, require_running, title
from hyperd.api.wire.subresources import GROUP, VERSION, SubresourceHandlers
from hyperd.errors import BadRequest, Conflict, HyperdError
from hyperd.hypervisor.console.hub import REPLAY_BYTES, ConsoleHub
from hyperd.hypervisor.console.screen import Size
from hyperd.hypervisor.console.vnc import Graphics, GraphicsStream
from hyperd.resources.kinds.virtual_machine import VIRTUAL_MACHINE
from hyperd.resources.schema.kind import AnyObject, Object
from hyperd.resources.values.meta import now_micro
from hyperd.store.interface import Store, User

log = logging.getLogger(__name__)

RecordEvent = Callable[[AnyObject, Literal["Normal", "Warning"], str, str], None]
"""``record(vm, type, reason, message)``, as the event recorder takes it."""

_PREEMPTED = {SessionKind.CONSOLE: "ConsoleSessionPreempted", SessionKind.VNC: "VNCSessionPreempted"}


@dataclass(eq=False)
class _Session:
    """A session of this process; ``dismissed`` is set to how it must end, ``over`` when nothing is left of it."""

    holder: Holder
    dismissed: asyncio.Future[Goodbye] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    over: asyncio.Event = field(default_factory=asyncio.Event)

    def dismiss(self, goodbye: Goodbye) -> None:
        if not self.dismissed.done():
            self.dismissed.set_result(goodbye)


class Sessions:
    """Handlers of ``virtualmachines/{console,vnc,log}``."""

    def __init__(
        self,
        store: Store,
        *,
        consoles: ConsoleHub,
        graphics: Graphics,
        record: RecordEvent,
        node_name: str = "",
        renew_seconds: float = RENEW_SECONDS,
    ) -> None:
        """``node_name`` is this node's where there are others: their machines' sessions are not here."""
        self._store = store
        self._node_name = node_name
        self._consoles = consoles
        self._graphics = graphics
        self._record = record
        self._renew_seconds = renew_seconds
        self._holders: dict[tuple[SessionKind, str], _Session] = {}
        self._open: dict[_Session, asyncio.Task[None] | None] = {}
        """Sessions that are not over, with the task that ends them, once it runs."""
        self._closing = False

    def handlers(self) -> SubresourceHandlers:
        """The table for ``ApiServer``."""
        return {
            ("virtualmachines", "console"): self._console,
            ("virtualmachines", "vnc"): self._vnc,
            ("virtualmachines", "log"): self._log,
        }

    async def close(self) -> None:
        """Close every session with 1011, so that clients come again once the daemon is back."""
        self._closing = True
        for session in self._open:
            session.dismiss(STOPPING)
        await asyncio.gather(*(session.over.wait() for session in self._open))

    async def _console(
        self, request: web.BaseRequest, user: User, namespace: str, name: str
    ) -> web.StreamResponse:
        replay = min(number(request, "replay", default=0), REPLAY_BYTES)
        size = Size.bounded(number(request, "columns", default=0), number(request, "rows", default=0))

        async def connect(uid: str) -> Stream:
            return await self._consoles.attach(uid, replay=replay, size=size)

        return await self._serve(SessionKind.CONSOLE, connect, request, user, namespace, name)

    async def _vnc(self, request: web.BaseRequest, user: User, namespace: str, name: str) -> web.StreamResponse:
        async def connect(uid: str) -> Stream:
            return await GraphicsStream.open(self._graphics, uid)

        return await self._serve(SessionKind.VNC, connect, request, user, namespace, name)

    async def _log(self, request: web.BaseRequest, user: User, namespace: str, name: str) -> web.StreamResponse:
        vm = (await self._store.get(VIRTUAL_MACHINE, namespace, name)).object()
        require_here(vm, self._node_name)
        lines = number(request, "tail", default=-1)
        pieces = self._consoles.log(
            vm["metadata"]["uid"], lines=lines if lines >= 0 else None, follow=flag(request, "follow")
        )
        response = web.StreamResponse(
            headers={"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}
        )
        await response.prepare(request)  # who follows a log of nothing sees that it is there
        sending = Sending(request, response)
        async with aclosing(pieces):
            async for piece in pieces:
                await sending.write(piece)
        await sending.end()
        return response

    async def _serve(
        self,
        kind: SessionKind,
        connect: Callable[[str], Awaitable[Stream]],
        request: web.BaseRequest,
        user: User,
        namespace: str,
        name: str,
    ) -> web.StreamResponse:
        vm = (await self._store.get(VIRTUAL_MACHINE, namespace, name)).object()
        if flag(request, "probe"):
            return web.json_response(await self._probe(kind, vm))
        require_running(vm)
        require_here(vm, self._node_name)
        if self._closing:
            raise BadRequest("The daemon is stopping; sessions are served again once it is back.")
        socket = prepare_socket(request)
        agent = client_name(request.headers.get("User-Agent", ""))
        holder = Holder(user.name, agent, now_micro(), client_name(request.query.get("session", "")))
        polite = request.query.get("takeover", "").lower() in ("false", "0")
        if polite:
            await self._require_free(kind, vm, holder)
        try:
            stream = await connect(vm["metadata"]["uid"])
        except (HyperdError, OSError) as error:
            # 400 is what makes the reference's clients try again; the VM is there, so never 404.
            raise BadRequest(f"The {kind} of VirtualMachine {namespace}/{name} is not ready: {error}") from error
        try:
            if polite:
                # Somebody may have come while the console was opened.
                await self._require_free(kind, vm, holder)
            await socket.prepare(request)
            await self._hold(kind, vm, holder, socket, stream)
        finally:
            stream.close()
        return socket

    async def _require_free(self, kind: SessionKind, vm: AnyObject, asking: Holder) -> None:
        """Raises Conflict, which names who holds the session, unless nobody or the asking client itself does.

        A lease alone counts only where another daemon may have the session: this one's are all in memory.
        """
        session = self._holders.get((kind, vm["metadata"]["uid"]))
        holder = session.holder if session else None
        if holder is None and self._node_name:
            holder = await current_holder(self._store, kind, vm)
        if holder is None or (asking.nonce and holder.nonce == asking.nonce and holder.user == asking.user):
            return
        whose = f'user "{holder.user}"' if holder.user != asking.user else f'you ("{holder.user}"), elsewhere'
        program = f" with {holder.client}" if holder.client else ""
        raise Conflict(
            f"The {kind} of VirtualMachine {title(vm)} is held by {whose}{program} since {holder.since}."
        )

    async def _probe(self, kind: SessionKind, vm: AnyObject) -> Object:
        """Who holds the session; empty fields when nobody does."""
        session = self._holders.get((kind, vm["metadata"]["uid"]))
        holder = session.holder if session else await current_holder(self._store, kind, vm)
        answer: Object = {"kind": "VirtualMachineSession", "apiVersion": f"{GROUP}/{VERSION}"}
        answer |= {"holder": holder.user if holder else "", "client": holder.client if holder else ""}
        if holder:
            answer["startTime"] = holder.since
        return answer

    async def _hold(
        self, kind: SessionKind, vm: AnyObject, holder: Holder, socket: web.WebSocketResponse, stream: Stream
    ) -> None:
        """Displace who holds the session, and serve it to its end."""
        session = _Session(holder)
        self._open[session] = None
        if self._closing:
            session.dismiss(STOPPING)
        key = (kind, vm["metadata"]["uid"])
        self._displace(kind, vm, session)
        lease = SessionLease(self._store, kind, vm, holder, renew_seconds=self._renew_seconds)
        goodbye = STOPPING
        try:
            goodbye = await splice(socket, stream, session.dismissed, _displaced_elsewhere(lease, vm))
        finally:
            if self._holders.get(key) is session:
                del self._holders[key]
            # Cancelled from outside: the server stops, or the client's connection is gone.
            lost = goodbye is STOPPING and not self._closing
            reason = "the connection ended" if lost else goodbye.reason or "the client left"
            log.info("%s session of %s ended: %s", kind, title(vm), reason)
            # A task of its own: a stopping server cancels this one, perhaps more than once.
            farewell = asyncio.create_task(_farewell(socket, goodbye, lease), name=f"end of {kind} session")
            self._open[session] = farewell
            farewell.add_done_callback(lambda _: self._forget(session))
            await asyncio.shield(farewell)

    def _forget(self, session: _Session) -> None:
        del self._open[session]
        session.over.set()

    def _displace(self, kind: SessionKind, vm: AnyObject, session: _Session) -> None:
        key, user = (kind, vm["metadata"]["uid"]), session.holder.user
        former = self._holders.get(key)
        self._holders[key] = session
        log.info("%s session of %s opened by %s", kind, title(vm), user)
        if former:
            former.dismiss(taken_over_by(user, former.holder.user))
            by = f'user "{user}"' if user != former.holder.user else "another session of the same user"
            message = f'The {kind} session of user "{former.holder.user}" was taken over by {by}.'
            self._record(vm, "Normal", _PREEMPTED[kind], message)


async def _farewell(socket: web.WebSocketResponse, goodbye: Goodbye, lease: SessionLease) -> None:
    await close(socket, goodbye)
    await lease.release()


async def _displaced_elsewhere(lease: SessionLease, vm: AnyObject) -> Goodbye:
    """Keep the lease; it ends when another daemon's session takes it."""
    await lease.keep()
    holder = await current_holder(lease.store, lease.kind, vm)
    return taken_over_by(holder.user if holder else "another user")
