from tests.host.hypervisor.conftest import hypervisor, spec

__all__ = ["hypervisor", "spec"]
