"""What tests of several rooms share."""

import os

import pytest

from hypnostream.bridges.lsl_config import use_private_lsl


@pytest.fixture(scope="session")
def lsl_session_id() -> str:
    """Real LSL, kept to this machine and this run; the session id is for child processes that take part."""
    session_id = f"tests-{os.getpid()}"
    use_private_lsl(session_id)
    return session_id
