"""Views of what ``hyperd.resources.kinds.virtual_image`` declares.

Written by ``python -m hyperd.resources.view_source``; for type checking only.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

from hyperd.resources.kinds.virtual_image import ImagePhase, VirtualImageStorage
from hyperd.resources.views.base import Condition, OperationRecord, Resource
from hyperd.resources.views.data_source import DownloadSpeed, ImageDataSource, ImageSize, ImageUploadURLs, Retry


class VirtualImageClaim(TypedDict):
    storageClassName: NotRequired[str]


class VirtualImageSpec(TypedDict):
    storage: VirtualImageStorage
    persistentVolumeClaim: NotRequired[VirtualImageClaim]
    dataSource: ImageDataSource


class VirtualImageTarget(TypedDict):
    registryURL: NotRequired[str]
    persistentVolumeClaimName: NotRequired[str]
    size: NotRequired[str]


class VirtualImageStatus(TypedDict):
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
    storageClassName: NotRequired[str]
    target: NotRequired[VirtualImageTarget]
    conditions: NotRequired[list[Condition]]
    observedGeneration: NotRequired[int]


class VirtualImage(Resource):
    spec: VirtualImageSpec
    status: NotRequired[VirtualImageStatus]
