"""A lease is named by its address, and by nothing else."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperd.resources.kinds.virtual_machine_ip_address_lease import address_of_lease, lease_name


@given(st.ip_addresses(v=4))
def test_a_lease_name_leads_back_to_its_address(address: IPv4Address) -> None:
    assert address_of_lease(lease_name(address)) == address


@pytest.mark.parametrize("name", ["", "ip-", "ip-10-66-10", "ip-10-66-10-256", "ip-010-66-10-1", "10-66-10-1"])
def test_other_names_are_no_leases(name: str) -> None:
    assert address_of_lease(name) is None
