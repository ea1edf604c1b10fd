"""The HTTP server: listeners, start and stop."""

from __future__ import annotations

from hyperd.api.subresources import SubresourceHandlers
from hyperd.settings import Settings
from hyperd.store.interface import Store


class ApiServer:
    """Serves one store on a unix socket (0660) and on TLS.

    ``sessions`` maps (plural, subresource) to the handlers of console, vnc and log.
    """

    def __init__(self, settings: Settings, store: Store, *, sessions: SubresourceHandlers | None = None) -> None:
        self._settings = settings
        self._store = store
        self._sessions = sessions or {}
        self._port = 0

    @property
    def port(self) -> int:
        """The TLS listener's actual port, once started."""
        return self._port

    async def start(self) -> None:
        """Bind the listeners and write the kubeconfig. Raises PermanentError when it cannot."""
        raise NotImplementedError

    async def stop(self) -> None:
        """Stop accepting, end watches within two seconds, finish running requests, remove the socket."""
        raise NotImplementedError
