"""Who is served, where, and what is written of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from hyperd.roles import Role
from hyperd.settings.sections import Count, Section


class ApiSettings(Section):
    """Where the API listens."""

    host: str = "127.0.0.1"
    """Address of the TLS listener; anything but loopback is the administrator's choice."""
    port: Annotated[int, Field(ge=0, le=65535)] = 6480
    """0 picks a free port, which the kubeconfig then names."""
    max_body_bytes: Count = 3 * (1 << 20)
    public_url: Annotated[str, Field(pattern=r"^(https?://[!-~]+)?$")] = ""
    """Leads to the TLS listener from outside, such as ``https://hv.example.org``; empty means its own address.
    The external addresses of uploads begin with it."""
    max_watchers: Annotated[int, Field(ge=0)] = 2000


class AccessSettings(Section):
    """Who may do what; see ``hyperd.roles``. Root administers, always."""

    unix_groups: dict[str, Role] = Field(default_factory=lambda: {"hyperd": Role.ADMIN})
    """Unix group → role of its members, who may open the unix socket. Groups that do not exist are ignored."""
    max_token_seconds: Annotated[int, Field(ge=60)] = 366 * 86_400
    """How long a token may be made to last."""


class AggregationSettings(Section):
    """Where a cluster's API server reaches this daemon (webhooks, the aggregated API); unused without one."""

    host: str = "0.0.0.0"
    port: Annotated[int, Field(ge=0, le=65535)] = 6481


class FrontProxySettings(Section):
    """A proxy that says in ``X-Remote-User`` and its like who asks, and proves itself by a client certificate."""

    ca_file: Path | None = None
    """The CA of that certificate alone. None: in a cluster, what its API server publishes in
    ``kube-system/extension-apiserver-authentication``; without one, no proxy is believed."""
    names: tuple[str, ...] = ()
    """Common names that are believed; none means every certificate of that CA."""


class AuditSettings(Section):
    """The audit log, ``audit.log`` in ``log_dir``."""

    level: Literal["off", "writes", "all"] = "writes"
    """``writes``: writes, sessions and what was denied; ``all``: reads as well."""
    max_bytes: Annotated[int, Field(ge=4096)] = 16 << 20
    """Size at which a new file is begun."""
    keep: Annotated[int, Field(ge=0, le=1000)] = 8
    """How many older files are kept."""


class LogSettings(Section):
    level: str = "info"
    format: Annotated[str, Field(pattern="^(json|text)$")] = "json"
