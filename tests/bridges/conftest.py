"""What tests of the bridges share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bridges.replayed_session import Session


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    session = Session(tmp_path)
    yield session
    session.end()
