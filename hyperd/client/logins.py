"""The user's credentials for registries, where other tools keep them."""

from __future__ import annotations

import base64
import json
import os

from hyperd.errors import BadRequest
from hyperd.registryauth import HUB_NAMES

_MOST_BYTES = 4 << 20


def credentials(registry: str, auth_file: str) -> str:
    """``user:password`` in base64, from where other tools keep it; empty where they have none."""
    config = os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    places = [os.environ.get("REGISTRY_AUTH_FILE", ""), f"{runtime}/containers/auth.json", f"{config}/config.json"]
    keys = [registry, f"https://{registry}", *(["https://index.docker.io/v1/"] if registry in HUB_NAMES else [])]
    for path in [auth_file] if auth_file else filter(None, places):
        try:
            with open(path, "rb") as file:
                entries = json.loads(file.read(_MOST_BYTES)).get("auths") or {}
            for kept in (str((entries.get(key) or {}).get("auth") or "") for key in keys):
                if kept:
                    if b":" not in base64.b64decode(kept, validate=True):
                        raise ValueError(kept)
                    return kept
        except FileNotFoundError:
            if auth_file:
                raise
        except (ValueError, AttributeError, RecursionError):
            raise BadRequest(f"{path} is no file that podman, skopeo or docker login have made.") from None
    return ""
