"""The commands of ``hv``; a module is imported when its command is used."""

from __future__ import annotations

COMMANDS: dict[str, tuple[str, str]] = {
    "get": ("get", "list objects, or show some"),
    "describe": ("describe", "show an object with its conditions and events"),
    "why": ("why", "say why an object is not well, and what mends that"),
    "apply": ("apply", "create or change what manifests describe"),
    "create": ("create", "make a machine, a disk, an image or a namespace in one line"),
    "diff": ("diff", "show what an apply of manifests would change"),
    "edit": ("editing", "change an object in an editor"),
    "patch": ("patching", "change fields of objects"),
    "label": ("patching", "set and take off labels"),
    "annotate": ("patching", "set and take off annotations"),
    "delete": ("delete", "delete objects"),
    "wait": ("wait", "wait until objects are as they should be"),
    "explain": ("explain", "tell what the fields of a kind mean"),
    "top": ("top", "show what machines and nodes use now"),
    "watch": ("watch", "show a list that follows every change"),
    "console": ("console", "open a machine's serial console"),
    "log": ("log", "print what a machine's console said"),
    "start": ("power", "start machines"),
    "stop": ("power", "shut machines down"),
    "restart": ("power", "restart machines"),
    "upload": ("upload", "send a file into an image or disk"),
    "tui": ("tui", "open the terminal interface"),
    "kubeconfig": ("kubeconfig", "print or merge the kubeconfig for kubectl"),
    "token": ("token", "make, list and revoke tokens, by which others reach this home"),
    "audit": ("audit", "show who did what on this host"),
    "gc": ("gc", "remove images and files that no object owns"),
    "backup": ("backup", "copy all objects of this hyperd into a file, while it runs"),
    "restore": ("restore", "put such a file in the place of the objects of a stopped hyperd"),
    "curl": ("curl", "send one request to the API"),
    "doctor": ("doctor", "say what is wrong with this host, and what mends it"),
    "completion": ("completion", "print a shell's completion script"),
    "version": ("version", "print the versions of hv and of the server"),
}
"""Command → module of ``hyperd.cli`` and one line of help."""
