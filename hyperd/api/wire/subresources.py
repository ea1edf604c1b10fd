"""Connect subresources: the seam between the HTTP grammar and the sessions behind it.

The API knows that ``virtualmachines/NAME/console`` exists and who may open it; what happens on the stream is a
handler's business, registered in a table when the daemon is wired. A name that the reference has and this
version does not build answers 501 with a sentence, never a silent success.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from hyperd.store.interface import User

GROUP = "subresources.virtualization.deckhouse.io"
VERSION = "v1alpha2"

SubresourceHandler = Callable[[web.BaseRequest, User, str, str], Awaitable[web.StreamResponse]]
"""``handler(request, user, namespace, name)``: upgrades to a WebSocket, streams, or answers at once.

It raises ``HyperdError`` before the upgrade for a Status answer; afterwards it closes the stream itself.
"""

SubresourceHandlers = Mapping[tuple[str, str], SubresourceHandler]
"""(plural, subresource) → handler, e.g. ``("virtualmachines", "console")``."""

DECLARED: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("virtualmachines", "console"): ("get",),
    ("virtualmachines", "vnc"): ("get",),
    ("virtualmachines", "log"): ("get",),
    ("virtualmachines", "portforward"): ("get",),
    ("virtualmachines", "addvolume"): ("update",),
    ("virtualmachines", "removevolume"): ("update",),
    ("virtualmachines", "addresourceclaim"): ("update",),
    ("virtualmachines", "removeresourceclaim"): ("update",),
    ("virtualmachines", "freeze"): ("update",),
    ("virtualmachines", "unfreeze"): ("update",),
    ("virtualmachines", "cancelevacuation"): ("update",),
    ("virtualmachinepools", "scaledownwith"): ("create",),
    ("virtualimages", "upload"): ("get",),
    ("virtualdisks", "upload"): ("get",),
    ("clustervirtualimages", "upload"): ("get",),
    ("virtualdisks", "export"): ("get",),
    ("virtualdisksnapshots", "export"): ("get",),
    ("virtualimages", "export"): ("get",),
    ("clustervirtualimages", "export"): ("get",),
    ("nodes", "collectgarbage"): ("create",),
    ("nodes", "backup"): ("get",),
}
"""Every connect subresource and its verbs; ``log``, ``upload``, ``export`` and the node's are ours, others
the reference's."""

CLUSTER_SCOPED = frozenset({"nodes", "clustervirtualimages"})
"""Plurals whose path has no namespace."""
