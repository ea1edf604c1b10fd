"""Unix users and groups by number, and the roles that the settings give to groups.

Look-ups may go to a directory service far away: they block, run in a thread, and are kept for half a minute.
"""

from __future__ import annotations

import grp
import pwd
from collections.abc import Mapping
from dataclasses import dataclass

from hyperd import clock
from hyperd.roles import Role

_KEPT_SECONDS = 30.0
_MAX_KEPT = 1024


@dataclass(frozen=True)
class Found:
    """A process's user and groups by name, and its roles, the weakest first."""

    name: str
    groups: tuple[str, ...]
    roles: tuple[Role, ...]


class UnixGroups:
    """``roles`` maps a group's name to what its members may do."""

    def __init__(self, roles: Mapping[str, Role]) -> None:
        self._roles = dict(roles)
        self._kept: dict[tuple[int, frozenset[int]], tuple[float, Found]] = {}

    def known(self, uid: int, gids: frozenset[int]) -> Found | None:
        """What was looked up a moment ago."""
        kept = self._kept.get((uid, gids))
        return kept[1] if kept is not None and clock.elapsed() - kept[0] < _KEPT_SECONDS else None

    def look_up(self, uid: int, gids: frozenset[int]) -> Found:
        """Blocking."""
        names = sorted(_group_name(gid) for gid in gids)
        mine = {self._roles[name] for name in names if name in self._roles}
        found = Found(_user_name(uid), tuple(names), tuple(role for role in Role if role in mine))
        if len(self._kept) >= _MAX_KEPT:
            self._kept.clear()
        self._kept[uid, gids] = (clock.elapsed(), found)
        return found


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid-{uid}"


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
