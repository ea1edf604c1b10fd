"""Streebog against the examples of its standard (RFC 6986)."""

from __future__ import annotations

import pytest

from registry.streebog import Streebog

FIRST = b"012345678901234567890123456789012345678901234567890123456789012"
SECOND = bytes.fromhex(
    "d1e520e2e5f2f0e82c20d1f2f0e8e1eee6e820e2edf3f6e82c20e2e5fef2fa20f120eceef0ff20f1f2f0e5ebe0ece820ede0"
    "20f5f0e0e1f0fbff20efebfaeafb20c8e3eef0e5e2fb"
)


@pytest.mark.parametrize(
    ("name", "message", "digest"),
    [
        ("streebog256", FIRST, "9d151eefd8590b89daa6ba6cb74af9275dd051026bb149a452fd84e5e57b5500"),
        ("streebog256", SECOND, "9dd2fe4e90409e5da87f53976d7405b0c0cac628fc669a741d50063c557e8f50"),
        (
            "streebog512",
            FIRST,
            "1b54d01a4af5b9d5cc3d86d68d285462b19abc2475222f35c085122be4ba1ffa"
            "00ad30f8767b3a82384c6574f024c311e2a481332b08ef7f41797891c1646f48",
        ),
        (
            "streebog512",
            SECOND,
            "1e88e62226bfca6f9994f1f2d51569e0daf8475a3b0fe61a5300eee46d961376"
            "035fe83549ada2b8620fcd7c496ce5b33f0cb9dddc2b6460143b03dabac9fb28",
        ),
    ],
)
def test_the_standards_examples(name: str, message: bytes, digest: str) -> None:
    hash_ = Streebog(name)
    hash_.update(message[:7])
    assert hash_.hexdigest() != digest
    hash_.update(message[7:])
    assert hash_.hexdigest() == digest
    assert hash_.hexdigest() == digest
