"""The renders of the minis' tests."""

from tests.minis.conftest import renders  # noqa: F401
