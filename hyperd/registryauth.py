"""What a registry asks for when it answers 401, and who may see the credentials.

A registry names its token server itself, and may name any. Credentials go to the host that they are for, to a
parent domain of it (whose owner can have them anyway, as GitLab's ``gitlab.com`` for ``registry.gitlab.com``), to
Docker Hub's own, and nowhere else; a Secret may have an entry for another token server.

The library ``oras`` (0.2.43) does the same work, and none of it within these bounds:

- its token client shows a password to whatever realm a registry names, and follows redirects from there;
- it sets no time limits, reads answers whole however long, and asks five times with ``time.sleep`` between:
  a refused login took 131 s in a test of ours;
- its parser of challenges knows no scheme, and that of references makes the registry ``docker.io`` of
  ``h/../../x:1`` and the name ``user`` of ``http://user:pw@h/x:1``;
- of files with credentials it reads docker's alone, and not those of podman and skopeo;
- it is synchronous, and its import takes 15 MiB and 100 ms of CPU time, where all of ``hv`` takes 65 ms.

What were left of it are names of media types. So the tests alone have it, as a client that must understand us.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from hyperd.errors import PermanentError

HUB: Final = "registry-1.docker.io"
HUB_NAMES: Final = ("docker.io", "index.docker.io", HUB)
"""What Docker Hub, which answers as ``HUB``, is called."""
_HUB_REALM = "auth.docker.io"
_MOST_TEXT = 8 << 10
_MOST_HEADERS = 8
# Whatever blanks there are is taken at once: tried in all ways, some thousands would take seconds.
_SCHEME = re.compile(r"\s*+,?\s*+([A-Za-z]++)(?:\s++|$)")
_PARAMETER = re.compile(r'\s*+,?\s*+([A-Za-z][-\w]*+)\s*+=\s*+(?:"((?:[^"\\]|\\.)*+)"|([^\s,"]++))')
_TOKEN = re.compile(r"[!-~]{1,65536}")


@dataclass(frozen=True)
class Challenge:
    """One scheme, in lower case, and its parameters."""

    scheme: str
    parameters: dict[str, str] = field(default_factory=dict)


def challenges(headers: Iterable[str]) -> list[Challenge]:
    """What the first ``WWW-Authenticate`` headers offer; what cannot be read is left out."""
    found = []
    for text in islice(headers, _MOST_HEADERS):
        text, at = text[:_MOST_TEXT], 0
        while match := _SCHEME.match(text, at):
            at, parameters = match.end(), {}
            while pair := _PARAMETER.match(text, at):
                name, quoted, bare = pair.groups()
                parameters[name.lower()] = bare if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
                at = pair.end()
            found.append(Challenge(match[1].lower(), parameters))
    return found


def may_see_credentials(realm: str, registry: str) -> bool:
    """Whether the host ``realm`` may be given what is meant for the host ``registry``; both without port."""
    if realm == registry or (registry in HUB_NAMES and realm == _HUB_REALM):
        return True
    return "." in realm and registry.endswith(f".{realm}") and not _is_address(registry)


def token_of(body: bytes, realm: str, *, key: str = "") -> str:
    """The token in a token server's answer; PermanentError, of ``key``, without one."""
    try:
        answer = json.loads(body)
        token = answer.get("token") or answer.get("access_token")
    except (ValueError, AttributeError, RecursionError):
        token = None
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise PermanentError(f"The token server {realm} answers without a token.", key=key)
    return token


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()
