"""Oddities of cloud-init user data that cloud-init itself would only tell on the guest's console."""

from __future__ import annotations

from typing import Final

_JINJA = "## template: jinja"
_YAML_HEADERS: Final = ("#cloud-config", "#cloud-config-archive", "#cloud-config-jsonp")
_OTHER_HEADERS: Final = (
    "#!", "#include-once", "#include", "#cloud-boothook", "#part-handler", "#upstart-job", "Content-Type:",
    "MIME-Version:", "From nobody", "\x1f\x8b",
)  # fmt: skip
_MAX_PARSED = 64 * 1024


def oddities(user_data: str | None) -> list[str]:
    """What is odd about ``user_data``, a sentence each; None is not looked at."""
    if user_data is None:
        return []
    if not user_data.strip():
        return ["it is empty: cloud-init will do nothing with it"]
    text = user_data
    if text.startswith(_JINJA):
        # The rest is a template: YAML only after rendering in the guest.
        return []
    first = text.partition("\n")[0].rstrip()
    if first in _YAML_HEADERS:
        return _yaml_oddities(text) if first != "#cloud-config-jsonp" else []
    if first.startswith(_OTHER_HEADERS):
        return []
    return [f"its first line is no header that cloud-init knows, such as #cloud-config: {first[:60]!r}"]


def _yaml_oddities(text: str) -> list[str]:
    if len(text) > _MAX_PARSED:
        return []
    import yaml  # here, because few daemons ever meet user data

    try:
        # Events, not objects: aliases are never expanded, so nothing small can become huge.
        for _ in yaml.parse(text, Loader=yaml.SafeLoader):
            pass
    except yaml.YAMLError as err:
        mark = getattr(err, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark is not None else ""
        return [f"it is not valid YAML{where}: {getattr(err, 'problem', None) or 'cannot be parsed'}"]
    return []
