"""URLs of image sources: sent as they are written, their credentials only to the server that they are for.

A signed URL is only good as it is: nothing of it is decoded and encoded again. User and password are taken out of
it and become a header, as bytes: what stands percent-encoded in the URL is what the server gets.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes, urljoin, urlsplit, urlunsplit

from yarl import URL

from hyperd.errors import PermanentError
from hyperd.imagefile.detect import FAILED

_AS_IT_IS = "".join(map(chr, range(0x21, 0x7F)))
"""All that may stand in a URL's text unchanged; the rest becomes UTF-8, percent-encoded."""
_SHOWN = 200


@dataclass(frozen=True)
class Target:
    """Where a request goes: ``url`` without credentials and fragment, ``authorization`` a header's value."""

    url: URL
    authorization: str = ""

    @property
    def host(self) -> str:
        """As it is looked up: in ASCII, without brackets."""
        return self.url.raw_host or ""

    @property
    def port(self) -> int:
        return self.url.port or 0

    def redirected(self, location: str, first: Target) -> Target:
        """Where ``location``, the header of an answer, leads; ``first`` is the target that the chain began with.

        Credentials stay with the origin that they were written for. Raises PermanentError.
        """
        if not location:
            raise PermanentError(f"{shown(str(self.url))} redirects to nowhere.", key=FAILED)
        try:
            target = parse(urljoin(str(self.url), _ascii(location)))
        except ValueError as err:
            raise PermanentError(
                f"{shown(str(self.url))} redirects to something that is not a URL.", key=FAILED
            ) from err
        if self.url.scheme == "https" and target.url.scheme == "http":
            raise PermanentError(
                f"{shown(str(self.url))} redirects from https to http, where anyone could change the image.",
                key=FAILED,
            )
        if not target.authorization and target.url.origin() == first.url.origin():
            return Target(target.url, first.authorization)
        return target


def parse(text: str) -> Target:
    """The target of a URL; PermanentError for what is no URL of http or https."""
    try:
        parts = urlsplit(text)
        if "\\" in parts.netloc:
            raise ValueError("a backslash in the host, which programs read differently")
        user, at, place = parts.netloc.rpartition("@")
        if not place.isascii():
            place = URL(f"//{place}").raw_authority
        url = URL(urlunsplit((parts.scheme, place, parts.path, parts.query, "")), encoded=True)
        port = url.port
    except ValueError as err:
        raise PermanentError(f"{shown(text)} is not a URL: {err}.", key=FAILED) from err
    if url.scheme not in ("http", "https") or not url.raw_host or not port:
        raise PermanentError(f"Images are fetched over http and https only, not from {shown(text)}.", key=FAILED)
    return Target(url, _basic(user) if at else "")


def shown(text: str) -> str:
    """``text`` for a message: without a password or a token in it, and not endless."""
    try:
        return str(URL(text, encoded=True).with_user(None).with_query(None).with_fragment(None))[:_SHOWN]
    except ValueError:
        return repr(text.partition("?")[0].rpartition("@")[2][:_SHOWN])


def _basic(userinfo: str) -> str:
    user, _, password = userinfo.partition(":")
    return "Basic " + base64.b64encode(unquote_to_bytes(user) + b":" + unquote_to_bytes(password)).decode()


def _ascii(location: str) -> str:
    """A header's text as a URL: raw bytes in it, as some servers send them, percent-encoded."""
    place = urlsplit(location).netloc
    if not place.isascii():
        location = location.replace(place, URL(f"//{place}").raw_authority, 1)
    return quote(location.strip().encode("utf-8", "surrogateescape"), safe=_AS_IT_IS)
