"""The home that flags, the environment and the usual places name.

Order: ``--socket``, then ``--kubeconfig`` or ``--context``, then ``$HYPERD_SOCKET``, then ``$KUBECONFIG``, then
the daemon's own socket, then ``~/.kube/config``. What is named explicitly wins; the local daemon is the default.
A socket may be that of another machine, ``ssh://root@node``; a context may be a home that ``hv remote`` keeps.
"""

from __future__ import annotations

import os

from hyperd.client.home import DEFAULT_SOCKET, Home, local


def find(*, socket: str = "", kubeconfig: str = "", context: str = "", namespace: str = "") -> Home:
    """The home that flags, environment and usual places name.

    Raises BadRequest or NotFound with a sentence when a kubeconfig or context does not fit.
    """
    chosen = namespace or os.environ.get("HV_NAMESPACE", "")
    if socket:
        return at(socket, namespace=chosen)
    if not (kubeconfig or context):
        if named := os.environ.get("HYPERD_SOCKET"):
            return at(named, namespace=chosen)
        if not os.environ.get("KUBECONFIG") and (
            os.path.exists(DEFAULT_SOCKET) or not os.path.exists(_user_kubeconfig())
        ):
            return local(DEFAULT_SOCKET, namespace=chosen)
    if context and not kubeconfig:
        from hyperd.client import remotes

        if (kept := remotes.load().get(context)) is not None:
            return kept.home(namespace=chosen)
    from hyperd.client.kubeconfig import load  # not for the daemon behind a socket, which is the usual home

    home = load(kubeconfig_paths(kubeconfig)).home(context)
    if chosen:
        home.namespace = chosen
    return home


def at(place: str, *, name: str = "", namespace: str = "") -> Home:
    """The home at a path, or at an ``ssh://`` address. Raises BadRequest where that is none."""
    if "://" not in place:
        home = local(place, namespace=namespace)
        home.name = name or home.name
        return home
    from hyperd.client import ssh

    return ssh.home(place, name=name, namespace=namespace)


def kubeconfig_paths(explicit: str = "") -> list[str]:
    """The files to merge, as kubectl does: the flag, or ``$KUBECONFIG`` split at colons, or the user's file."""
    if explicit:
        return [explicit]
    named = [path for path in os.environ.get("KUBECONFIG", "").split(":") if path]
    return named or [_user_kubeconfig()]


def _user_kubeconfig() -> str:
    return os.path.expanduser("~/.kube/config")
