"""Views of what ``hyperd.resources.kinds.base`` declares.

Written by ``python -m hyperd.resources.view_source``; for type checking only.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict


class OwnerReference(TypedDict):
    apiVersion: str
    kind: str
    name: str
    uid: str
    controller: NotRequired[bool]
    blockOwnerDeletion: NotRequired[bool]


class Metadata(TypedDict):
    name: str
    namespace: NotRequired[str]
    uid: str
    resourceVersion: str
    generation: NotRequired[int]
    creationTimestamp: str
    deletionTimestamp: NotRequired[str]
    labels: NotRequired[dict[str, str]]
    annotations: NotRequired[dict[str, str]]
    finalizers: NotRequired[list[str]]
    ownerReferences: NotRequired[list[OwnerReference]]


class Resource(TypedDict):
    apiVersion: str
    kind: str
    metadata: Metadata


class Timer(TypedDict):
    boot: str
    at: int
    passed: int


class OperationRecord(TypedDict):
    opUid: str
    kind: str
    step: str
    epoch: int
    digest: str
    remaining: NotRequired[int]
    timer: NotRequired[Timer]


class Condition(TypedDict):
    type: str
    status: str
    reason: str
    message: str
    lastTransitionTime: str
    observedGeneration: NotRequired[int]


class LabelSelectorRequirement(TypedDict):
    key: str
    operator: str
    values: NotRequired[list[str]]


class LabelSelector(TypedDict):
    matchLabels: NotRequired[dict[str, str]]
    matchExpressions: NotRequired[list[LabelSelectorRequirement]]
