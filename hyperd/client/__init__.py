"""How the CLI and the TUI reach a home: a unix socket or a kubeconfig's server.

Rule of this room: nothing here imports libvirt, pydantic or aiohttp when it is imported, and what the command
line needs for one request (``home``, ``http1``, ``sync``) avoids even the standard library's slow modules:
``http.client`` costs 18 ms, ``dataclasses`` 7 ms, ``ssl`` 7 ms, YAML 24 ms of a start that should take 50.
"""
