"""The four roles: what somebody may do, in one word.

A role is given by group: Unix groups and tokens are translated to it, a client certificate names it as an
organisation (``O=hyperd:viewer``). What each role allows is told by ``hyperd.api.access.rules``.
"""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """From the weakest to the strongest; each may do what the one before it may."""

    VIEWER = "viewer"
    """Reads everything but Secrets, user data and consoles."""
    OPERATOR = "operator"
    """Also opens consoles and switches machines on and off."""
    EDITOR = "editor"
    """Also creates, changes and deletes what lives in namespaces."""
    ADMIN = "admin"
    """Everything."""

    @property
    def group(self) -> str:
        """The group that carries this role."""
        return f"hyperd:{self.value}"


NAMESPACES_EXTRA = "hyperd.local/namespaces"
"""Key of a user's ``extra``: the namespaces that the login is limited to; without it, it is not limited."""
LOGIN_TYPE = "hyperd.local/token"
"""Type of the Secrets that tokens are kept in."""
TOKEN_GROUP, TOKEN_VERSION = "access.hyperd.local", "v1alpha1"
"""API of ``tokenrequests``, which makes tokens."""
