"""A kind as requests name it."""

from __future__ import annotations


class Resource:
    """What a request needs to know of a kind, and the words it goes by.

    Requests are made in ``version``; ``more_versions`` are others that the server has it in.
    """

    __slots__ = (
        "categories", "group", "kind", "more_versions", "namespaced", "plural", "short_names", "singular",
        "version",
    )  # fmt: skip

    def __init__(
        self,
        *,
        group: str,
        version: str,
        kind: str,
        plural: str,
        singular: str,
        namespaced: bool,
        short_names: tuple[str, ...] = (),
        categories: tuple[str, ...] = (),
        more_versions: tuple[str, ...] = (),
    ) -> None:
        self.group = group
        self.version = version
        self.kind = kind
        self.plural = plural
        self.singular = singular
        self.namespaced = namespaced
        self.short_names = short_names
        self.categories = categories
        self.more_versions = more_versions

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def short(self) -> str:
        """The shortest word for it."""
        return self.short_names[0] if self.short_names else self.singular

    def in_version(self, api_version: str) -> Resource | None:
        """The same kind in another of its versions; None when ``api_version`` is none of them."""
        if api_version == self.api_version:
            return self
        group, _, version = api_version.rpartition("/")
        if group != self.group or version not in self.more_versions:
            return None
        return Resource(
            group=group,
            version=version,
            kind=self.kind,
            plural=self.plural,
            singular=self.singular,
            namespaced=self.namespaced,
            short_names=self.short_names,
            categories=self.categories,
        )

    def goes_by(self, word: str) -> bool:
        """Whether ``word`` (lower case) names this kind; ``plural.group`` does too."""
        return word in (self.plural, self.singular, self.kind.lower(), *self.short_names) or (
            bool(self.group) and word in (f"{self.plural}.{self.group}", f"{self.singular}.{self.group}")
        )

    def called(self, word: str) -> Resource | None:
        """The kind if ``word`` (lower case) names it; ``plural.version.group`` names it in that version."""
        if self.goes_by(word):
            return self
        name, _, rest = word.partition(".")
        version, _, group = rest.partition(".")
        return self.in_version(f"{group}/{version}") if group and self.goes_by(name) else None
