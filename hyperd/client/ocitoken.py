"""What an OCI registry is shown: a password, or what its token server gives for that."""

from __future__ import annotations

from urllib.parse import urlencode, urlsplit

from hyperd.client.failure import why
from hyperd.client.ociwire import REDIRECTS, address, connect, document, path_of
from hyperd.errors import Forbidden, PermanentError
from hyperd.registryauth import challenges, may_see_credentials, token_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from hyperd.client.http1 import Response


def authorization(registry: str, name: str, refusal: Response, credentials: str, *, plain: bool) -> str:
    """The header that ``registry`` asks for with ``refusal``, for its repository ``name``.

    Raises Forbidden where there is nothing to show, PermanentError where it must not be shown or nobody answers.
    """
    for asked in challenges(value for header, value in refusal.headers if header == "www-authenticate"):
        if asked.scheme == "bearer":
            return _token(registry, name, asked.parameters, credentials, plain=plain)
        if asked.scheme == "basic" and credentials:
            return f"Basic {credentials}"
    raise Forbidden(f"{registry} asks for credentials; log in with podman, skopeo or docker login first.")


def _token(registry: str, name: str, asked: Mapping[str, str], credentials: str, *, plain: bool) -> str:
    realm = address(asked.get("realm", ""), f"What {registry} names as its token server")
    if realm.scheme != "https" and not (plain and realm.scheme == "http"):
        raise PermanentError(f"{registry} names no token server that is reached over https.")
    query = {"service": asked.get("service", ""), "scope": f"repository:{name}:pull,push"}
    headers = {"Host": realm.netloc}
    if credentials:
        if not may_see_credentials(realm.hostname or "", urlsplit(f"//{registry}").hostname or ""):
            raise PermanentError(
                f"{registry} wants its credentials to be shown to {realm.hostname}, another host."
            )
        headers["Authorization"] = f"Basic {credentials}"
    try:
        connection = connect(realm.netloc, plain=realm.scheme == "http", named_by=registry)
        try:
            response = connection.request("GET", path_of(realm, urlencode(query)), headers=headers)
            body = document(response)
        finally:
            connection.close()
    except OSError as err:
        raise PermanentError(f"The token server {realm.netloc} cannot be reached: {why(err)}.") from err
    if response.status in REDIRECTS:
        raise PermanentError(f"The token server {realm.netloc} sends hv elsewhere; it does not follow that.")
    if response.status != 200:
        raise Forbidden(
            f"The token server {realm.netloc} refuses these credentials, or none were found: "
            "log in with podman, skopeo or docker login."
        )
    return f"Bearer {token_of(body, realm.netloc)}"
