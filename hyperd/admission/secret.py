"""Rules of Secrets: those for provisioning hold what guests look for."""

from __future__ import annotations

import base64
import binascii

from hyperd.admission import cloud_init
from hyperd.admission.context import Context
from hyperd.resources.values import names


async def review(context: Context) -> None:
    """Warn of provisioning data that guests cannot use."""
    data: dict[str, str] = context.new.get("data") or {}
    type_ = context.new.get("type")
    if type_ == names.CLOUD_INIT_SECRET_TYPE:
        _check_cloud_init(context, data)
    elif type_ == names.SYSPREP_SECRET_TYPE and not any(key in data for key in names.SYSPREP_SECRET_KEYS):
        context.warn(f"data: a Secret of type {type_} needs the key {' or '.join(names.SYSPREP_SECRET_KEYS)}")


def _check_cloud_init(context: Context, data: dict[str, str]) -> None:
    key = next((key for key in names.CLOUD_INIT_SECRET_KEYS if key in data), None)
    if key is None:
        context.warn(f"data: a Secret of type {names.CLOUD_INIT_SECRET_TYPE} needs the key userData")
        return
    try:
        user_data = base64.b64decode(data[key], validate=True)
    except (binascii.Error, ValueError):
        # Whoever keeps the object refuses what is not base64.
        return
    for oddity in cloud_init.oddities(user_data):
        context.warn(f"data[{key}]: {oddity}")
