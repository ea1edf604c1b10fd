"""The API against its own OpenAPI documents, by generated requests: no 5xx, no answer that they do not name."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.unit.api.conftest import Api, serving

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
KINDS = {
    "ConfigMap", "Lease", "Namespace", "Node", "Secret", "SelfSubjectAccessReview", "TokenRequest", "VirtualDisk",
    "VirtualMachine", "VirtualMachineClass",
}  # fmt: skip
"""All kinds share one grammar; these are of every sort: ours and core, in namespaces and not, with and without
status, stored and only answered."""
SETTINGS = settings(
    max_examples=3, deadline=None, derandomize=True, database=None, phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


@contextmanager
def running(folder: Path) -> Iterator[Api]:
    """A server in a thread with a loop of its own, as generated requests block."""
    ready, done = threading.Event(), threading.Event()
    started: list[Api] = []

    async def serve() -> None:
        async with serving(folder) as api:
            started.append(api)
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    try:
        assert ready.wait(30)
        yield started[0]
    finally:
        done.set()
        thread.join(30)


class Client:
    """Requests with the printed kubeconfig."""

    def __init__(self, api: Api, folder: Path) -> None:
        config = yaml.safe_load(api.settings.kubeconfig_path.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.url = cluster["server"]
        self.session = requests.Session()
        self.session.trust_env = False
        self._verify = self._file(folder / "ca.pem", cluster["certificate-authority-data"])
        self._pair = (
            self._file(folder / "client.pem", user["client-certificate-data"]),
            self._file(folder / "client.key", user["client-key-data"]),
        )

    @staticmethod
    def _file(path: Path, encoded: str) -> str:
        path.write_bytes(base64.b64decode(encoded))
        return str(path)

    def get(self, path: str) -> requests.Response:
        return self.session.get(self.url + path, verify=self._verify, cert=self._pair, timeout=30)

    def check(self, case: Case[Any]) -> None:
        """Send ``case``. Raises FailureGroup for an answer that the document does not have."""
        # A watch is a stream, which has no end to validate.
        case.query.pop("watch", None)
        answer = case.call(
            base_url=self.url, session=self.session, verify=self._verify, cert=self._pair, timeout=30
        )
        case.validate_response(answer, checks=CHECKS)


def _failures(client: Client, operation: APIOperation[Any, Any, Any, Any]) -> Iterator[str]:
    """Of requests that follow the document, and of requests that break it on purpose."""
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

        @SETTINGS
        @given(case=operation.as_strategy(generation_mode=mode))
        def run(case: Case[Any]) -> None:
            client.check(case)

        try:
            run()
        except FailureGroup as found:
            yield f"{operation.label}: " + "\n".join(str(failure)[:600] for failure in found.exceptions)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_generated_requests_get_answers_that_the_documents_name(folder: Path, tmp_path: Path) -> None:
    with running(folder) as api:
        client = Client(api, tmp_path)
        found: list[str] = []
        operations = 0
        for entry in client.get("/openapi/v3").json()["paths"].values():
            schema = schemathesis.openapi.from_dict(client.get(entry["serverRelativeURL"]).json())
            for result in schema.get_all_operations():
                assert isinstance(result, Ok), result
                operation = result.ok()
                if operation.definition.raw["x-kubernetes-group-version-kind"]["kind"] in KINDS:
                    operations += 1
                    found += _failures(client, operation)
    assert operations > 50
    assert not found, "\n\n".join(found)
