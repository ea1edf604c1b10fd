"""Views of what ``hyperd.resources.kinds.cluster_virtual_image`` declares.

Written by ``python -m hyperd.resources.view_source``; for type checking only.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

from hyperd.resources.kinds.data_source import DataSourceType, ImageObjectRefKind
from hyperd.resources.kinds.virtual_image import ImagePhase
from hyperd.resources.views.base import Condition, OperationRecord, Resource
from hyperd.resources.views.data_source import (
    DownloadSpeed,
    HTTPSource,
    ImageSize,
    ImageUploadURLs,
    Retry,
    UploadSource,
)


class NamespacedPullSecretReference(TypedDict):
    name: NotRequired[str]
    namespace: NotRequired[str]


class ClusterContainerImageSource(TypedDict):
    image: str
    imagePullSecret: NotRequired[NamespacedPullSecretReference]
    caBundle: NotRequired[str]


class ClusterImageObjectRef(TypedDict):
    kind: ImageObjectRefKind
    name: str
    namespace: NotRequired[str]


class ClusterImageDataSource(TypedDict):
    type: DataSourceType
    http: NotRequired[HTTPSource]
    containerImage: NotRequired[ClusterContainerImageSource]
    objectRef: NotRequired[ClusterImageObjectRef]
    upload: NotRequired[UploadSource]


class ClusterVirtualImageSpec(TypedDict):
    dataSource: ClusterImageDataSource


class ClusterVirtualImageTarget(TypedDict):
    registryURL: NotRequired[str]


class ClusterVirtualImageStatus(TypedDict):
    phase: NotRequired[ImagePhase]
    progress: NotRequired[str]
    cdrom: NotRequired[bool]
    format: NotRequired[str]
    size: NotRequired[ImageSize]
    downloadSpeed: NotRequired[DownloadSpeed]
    retry: NotRequired[Retry]
    operation: NotRequired[OperationRecord]
    imageUploadURLs: NotRequired[ImageUploadURLs]
    uploadCommand: NotRequired[str]
    sourceUID: NotRequired[str]
    target: NotRequired[ClusterVirtualImageTarget]
    usedInNamespaces: NotRequired[list[str]]
    conditions: NotRequired[list[Condition]]
    observedGeneration: NotRequired[int]


class ClusterVirtualImage(Resource):
    spec: ClusterVirtualImageSpec
    status: NotRequired[ClusterVirtualImageStatus]
