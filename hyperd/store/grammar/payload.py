"""What Kubernetes checks of Secrets and ConfigMaps: keys, size, what a type of secret needs, what may not change.

Wording is kube-apiserver's, so clients show the same sentences on both homes.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from typing import Final

import orjson

from hyperd.errors import BadRequest, Cause
from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.schema.metadata import quoted

MAX_BYTES: Final = 1 << 20
"""Of all values together."""
_MAX_KEY: Final = 253
_KEY: Final = re.compile(r"[-._a-zA-Z0-9]+")
_KEY_WANTED: Final = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' "
    "(e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)
_IMMUTABLE: Final = "Forbidden: field is immutable when `immutable` is set"
_MAPS: Final = ("data", "binaryData", "stringData")
_REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}
_BASIC_AUTH: Final = ("username", "password")
_SSH_KEY: Final = "ssh-privatekey"
_ACCOUNT: Final = "kubernetes.io/service-account.name"


def is_secret(kind: Kind) -> bool:
    return not kind.group and kind.plural == "secrets"


def is_config_map(kind: Kind) -> bool:
    return not kind.group and kind.plural == "configmaps"


def decode(kind: Kind, new: Object) -> None:
    """Bring the maps into the one form that is stored, in place; a secret's ``stringData`` becomes data.

    They are maps of strings. Raises BadRequest for what is not base64 where it should be.
    """
    for field in _MAPS:
        if field in new:
            new[field] = {key: text or "" for key, text in (new[field] or {}).items()}
    for field in ("data",) if is_secret(kind) else ("binaryData",):
        for key, text in (new.get(field) or {}).items():
            new[field][key] = _canonical(kind, text)
    if is_secret(kind) and (texts := new.pop("stringData", None)):
        folded = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}
        new["data"] = {**(new.get("data") or {}), **folded}


def check(kind: Kind, new: Object, old: Object | None) -> list[Cause]:
    """What is wrong with a decoded Secret or ConfigMap, which may be there as ``old``."""
    causes = [] if old is None else list(_changed(kind, new, old))
    size = 0
    for field in ("data", "binaryData"):
        binary = is_secret(kind) or field == "binaryData"
        for key, text in (new.get(field) or {}).items():
            path = f"{field}[{key}]"
            causes += [Cause(path, f"Invalid value: {quoted(key)}: {fault}") for fault in _key_faults(key)]
            if field == "data" and key in (new.get("binaryData") or {}):
                causes.append(Cause(path, f"Invalid value: {quoted(key)}: duplicate of key present in binaryData"))
            size += _decoded_length(text) if binary else len(text.encode())
    if size > MAX_BYTES:
        # Of a ConfigMap, Kubernetes blames no field by name.
        whole = "data" if is_secret(kind) else "[]"
        causes.append(Cause(whole, f"Too long: may not be more than {MAX_BYTES} bytes", "FieldValueTooLong"))
    return causes + (list(_missing(new)) if is_secret(kind) else [])


def _canonical(kind: Kind, text: str) -> str:
    bare = text.replace("\n", "").replace("\r", "")
    try:
        base64.b64decode(bare, validate=True)
    except ValueError:
        raise _refused(kind, "illegal base64 data") from None
    return bare


def _refused(kind: Kind, text: str) -> BadRequest:
    return BadRequest(f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: {text}')


def _decoded_length(text: str) -> int:
    return len(text) // 4 * 3 - text.count("=", -2)


def _key_faults(key: str) -> Iterator[str]:
    if len(key.encode()) > _MAX_KEY:
        yield f"must be no more than {_MAX_KEY} characters"
    if _KEY.fullmatch(key) is None:
        yield _KEY_WANTED
    if key in (".", ".."):
        yield f"must not be '{key}'"
    elif key.startswith(".."):
        yield "must not start with '..'"


def _changed(kind: Kind, new: Object, old: Object) -> Iterator[Cause]:
    if is_secret(kind) and new["type"] != old.get("type", "Opaque"):
        yield Cause("type", f"Invalid value: {quoted(new['type'])}: field is immutable")
    if not old.get("immutable"):
        return
    if not new.get("immutable"):
        yield Cause("immutable", _IMMUTABLE, "FieldValueForbidden")
    for field in ("data", "binaryData"):
        if (new.get(field) or {}) != (old.get(field) or {}):
            yield Cause(field, _IMMUTABLE, "FieldValueForbidden")


def _missing(secret: Object) -> Iterator[Cause]:
    """What a secret of one of Kubernetes' own types lacks."""
    data, type_ = secret.get("data") or {}, secret["type"]
    for key in _REQUIRED.get(type_, ()):
        if key not in data:
            yield _required(f"data[{key}]")
        elif key.startswith(".") and not _is_json_object(base64.b64decode(data[key])):
            text = 'Invalid value: "<secret contents redacted>": must be a JSON object'
            yield Cause(f"data[{key}]", text)
    if type_ == "kubernetes.io/basic-auth" and not any(key in data for key in _BASIC_AUTH):
        yield from (_required(f"data[{key}]") for key in _BASIC_AUTH)
    if type_ == "kubernetes.io/ssh-auth" and not data.get(_SSH_KEY):
        yield _required(f"data[{_SSH_KEY}]")
    account = (secret["metadata"].get("annotations") or {}).get(_ACCOUNT)
    if type_ == "kubernetes.io/service-account-token" and not account:
        yield _required(f"metadata.annotations[{_ACCOUNT}]")


def _required(path: str) -> Cause:
    return Cause(path, "Required value", "FieldValueRequired")


def _is_json_object(content: bytes) -> bool:
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError:
        return False
    return value is None or isinstance(value, dict)
