"""What an OCI registry is shown: a password, or what its token server gives for that."""

from __future__ import annotations

import re
from urllib.parse import urlencode

from hyperd.client import logins
from hyperd.client.ociwire import REDIRECTS, address, connect, document, parsed, why
from hyperd.errors import Forbidden, PermanentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from hyperd.client.http1 import Response

_PARAMETER = re.compile(r'([A-Za-z]{1,32})="([^"]{0,4096})"')
_TOKEN = re.compile(r"[!-~]{1,65536}")


def authorization(registry: str, name: str, refusal: Response, credentials: str, *, plain: bool) -> str:
    """The header that ``registry`` asks for with ``refusal``, for its repository ``name``.

    Raises Forbidden where there is nothing to show, PermanentError where it must not be shown or nobody answers.
    """
    for header, value in refusal.headers:
        scheme, _, rest = value.partition(" ")
        if header != "www-authenticate":
            continue
        if scheme.lower() == "bearer":
            return _token(registry, name, dict(_PARAMETER.findall(rest)), credentials, plain=plain)
        if scheme.lower() == "basic" and credentials:
            return f"Basic {credentials}"
    raise Forbidden(f"{registry} asks for credentials; log in with podman, skopeo or docker login first.")


def _token(registry: str, name: str, asked: Mapping[str, str], credentials: str, *, plain: bool) -> str:
    realm = address(asked.get("realm", ""), f"What {registry} names as its token server")
    if realm.scheme != "https" and not (plain and realm.scheme == "http"):
        raise PermanentError(f"{registry} names no token server that is reached over https.")
    query = {"service": asked.get("service", ""), "scope": f"repository:{name}:pull,push"}
    headers = {"Host": realm.netloc}
    if credentials:
        if not logins.may_see(realm.hostname or "", registry):
            raise PermanentError(
                f"{registry} wants its credentials to be shown to {realm.hostname}, another host."
            )
        headers["Authorization"] = f"Basic {credentials}"
    try:
        connection = connect(realm.netloc, plain=realm.scheme == "http", named_by=registry)
        try:
            separator = "&" if realm.query else "?"
            path = f"{realm.path or '/'}{'?' + realm.query if realm.query else ''}{separator}{urlencode(query)}"
            response = connection.request("GET", path, headers=headers)
            body = document(response)
        finally:
            connection.close()
    except OSError as err:
        raise PermanentError(f"The token server {realm.netloc} cannot be reached: {why(err)}.") from err
    if response.status in REDIRECTS:
        raise PermanentError(f"The token server {realm.netloc} sends hv elsewhere, which is not gone after.")
    if response.status != 200:
        raise Forbidden(f"The token server {realm.netloc} lets nobody in with these credentials.")
    answer = parsed(body, f"What the token server {realm.netloc} answers")
    token = answer.get("token") or answer.get("access_token")
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise PermanentError(f"The token server {realm.netloc} answers without a token.")
    return f"Bearer {token}"
