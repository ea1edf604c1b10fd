"""Views of what ``hyperd.resources.kinds.data_source`` declares.

Written by ``python -m hyperd.resources.view_source``; for type checking only.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

from hyperd.resources.kinds.data_source import DataSourceType, ImageObjectRefKind


class Checksum(TypedDict):
    md5: NotRequired[str]
    sha1: NotRequired[str]
    sha256: NotRequired[str]
    sha512: NotRequired[str]
    streebog256: NotRequired[str]
    streebog512: NotRequired[str]


class HTTPSource(TypedDict):
    url: str
    caBundle: NotRequired[str]
    checksum: NotRequired[Checksum]


class PullSecretReference(TypedDict):
    name: NotRequired[str]


class ContainerImageSource(TypedDict):
    image: str
    imagePullSecret: NotRequired[PullSecretReference]
    caBundle: NotRequired[str]


class ImageObjectRef(TypedDict):
    kind: ImageObjectRefKind
    name: str


class UploadSource(TypedDict):
    checksum: NotRequired[Checksum]


class ImageDataSource(TypedDict):
    type: NotRequired[DataSourceType]
    http: NotRequired[HTTPSource]
    containerImage: NotRequired[ContainerImageSource]
    objectRef: NotRequired[ImageObjectRef]
    upload: NotRequired[UploadSource]


class ImageSize(TypedDict):
    stored: NotRequired[str]
    storedBytes: NotRequired[str]
    unpacked: NotRequired[str]
    unpackedBytes: NotRequired[str]


class DownloadSpeed(TypedDict):
    avg: NotRequired[str]
    avgBytes: NotRequired[str]
    current: NotRequired[str]
    currentBytes: NotRequired[str]


class Retry(TypedDict):
    failures: NotRequired[int]
    afterSeconds: NotRequired[int]


class ImageUploadURLs(TypedDict):
    external: NotRequired[str]
    inCluster: NotRequired[str]
