"""Tells a cluster's API server how to trust hyperd: the CA bundle in everything that leads it here.

``manifests/`` registers webhooks, the conversion of classes and the aggregated API without a CA, since that is
made in the cluster, and that of evictions without its secret address; each daemon fills both in. Only places that
lead to hyperd's own Service are touched.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator, Mapping
from typing import Final

import orjson

from hyperd.api.wire.subresources import GROUP as AGGREGATED_GROUP
from hyperd.api.wire.subresources import VERSION as AGGREGATED_VERSION
from hyperd.errors import Conflict, NotFound
from hyperd.jsontypes import JsonObject
from hyperd.resources.all import VIRTUAL_MACHINE_CLASS
from hyperd.resources.schema.kind import Object
from hyperd.resources.values.names import API_SERVICE, EVICTION_PATH, SYSTEM_NAMESPACE
from hyperd.store.kubernetes.client import KubernetesClient

_LOG = logging.getLogger(__name__)

WEBHOOKS: Final = "hyperd"
"""Name of both webhook configurations."""
API_SERVICE_OBJECT: Final = f"{AGGREGATED_VERSION}.{AGGREGATED_GROUP}"
_ADMISSION = "/apis/admissionregistration.k8s.io/v1"
PLACES: Final[Mapping[str, str]] = {
    f"MutatingWebhookConfiguration {WEBHOOKS}": f"{_ADMISSION}/mutatingwebhookconfigurations/{WEBHOOKS}",
    f"ValidatingWebhookConfiguration {WEBHOOKS}": f"{_ADMISSION}/validatingwebhookconfigurations/{WEBHOOKS}",
    f"CustomResourceDefinition {VIRTUAL_MACHINE_CLASS.qualified_resource}": (
        f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{VIRTUAL_MACHINE_CLASS.qualified_resource}"
    ),
    f"APIService {API_SERVICE_OBJECT}": f"/apis/apiregistration.k8s.io/v1/apiservices/{API_SERVICE_OBJECT}",
}
"""What is told → where it is."""


class Registration:
    """Keeps the CA bundle where it belongs."""

    def __init__(self, client: KubernetesClient) -> None:
        self._client = client
        self._missing: set[str] = set()

    async def ensure(self, authority: bytes, evictions: str) -> None:
        """Write ``authority`` (PEM), and the address of ``evictions``, where they are not yet.

        Raises the API server's error; what is not installed is told in the log, once.
        """
        bundle = base64.b64encode(authority).decode()
        for title, path in PLACES.items():
            try:
                await self._ensure(title, path, bundle, evictions)
            except NotFound:
                if title not in self._missing:
                    _LOG.warning("%s is not installed: kubectl apply -k manifests/ does so.", title)
                self._missing.add(title)
            except Conflict:
                _LOG.debug("%s changed meanwhile; its CA bundle is looked at again soon", title)

    async def _ensure(self, title: str, path: str, bundle: str, evictions: str) -> None:
        found = await self._client.request("GET", path)
        before = orjson.dumps(found)
        for config in _configs(found):
            config["caBundle"] = bundle
            service = config["service"]
            if isinstance(service, dict) and str(service.get("path") or "").startswith(EVICTION_PATH):
                service["path"] = evictions
        if orjson.dumps(found) == before:
            return
        await self._client.request("PUT", path, body=orjson.dumps(found))
        self._missing.discard(title)
        _LOG.info("%s trusts this cluster's hyperd now", title)


def _configs(obj: Object) -> Iterator[JsonObject]:
    """Every part of ``obj`` that leads to our Service and takes a CA bundle."""
    spec = obj.get("spec") or {}
    conversion = (spec.get("conversion") or {}).get("webhook") or {}
    candidates = [
        *(webhook.get("clientConfig") or {} for webhook in obj.get("webhooks") or ()),
        conversion.get("clientConfig") or {},
        spec,
    ]
    for config in candidates:
        service = config.get("service") or {}
        if (service.get("namespace"), service.get("name")) == (SYSTEM_NAMESPACE, API_SERVICE):
            yield config
