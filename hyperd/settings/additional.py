"""Additional networks: bridges that machines may have cards on."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, Field

from hyperd.settings.sections import Section


class AdditionalNetwork(Section):
    """A bridge that is there already, under the name that manifests give it."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$")]
    bridge: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,15}$")]
    type: Literal["ClusterNetwork", "Network"] = "ClusterNetwork"
    """The ``type`` by which ``spec.networks`` names it."""
    namespaces: tuple[str, ...] = ()
    """Whose machines may use it; empty: all."""
    reach_host: bool = False
    """Whether guests reach this host by it, as where the host is the network's gateway."""
    mtu: Annotated[int, Field(ge=576, le=65535)] = 1500

    def open_to(self, namespace: str) -> bool:
        """Whether machines of ``namespace`` may use it."""
        return not self.namespaces or namespace in self.namespaces


def _unique(networks: tuple[AdditionalNetwork, ...]) -> tuple[AdditionalNetwork, ...]:
    names = [(one.type, one.name) for one in networks]
    for type_, name in names:
        if names.count((type_, name)) > 1:
            raise ValueError(f"there are two networks {type_}/{name}")
    return networks


AdditionalNetworks: TypeAlias = Annotated[tuple[AdditionalNetwork, ...], AfterValidator(_unique)]
