"""Keys on disk: made, listed, removed; what is no key, or is open to others, is refused in one line."""

import os
from contextlib import suppress
from pathlib import Path

import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnostream.bridges.curve import ClientKeys, Gate, client_keys
from hypnostream.bridges.key_files import (
    LARGEST_BYTES,
    MOST_ALLOWED,
    allow,
    new_keys,
    read_allowed,
    read_public,
    read_secret,
    remove,
)
from hypnostream.errors import UserError
from tests.command_line import Cli, assert_one_line

posix = pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    new_keys(tmp_path / "keys", "server")
    return tmp_path / "keys"


def test_a_pair_is_a_pair_and_each_is_another(tmp_path: Path) -> None:
    pairs = [new_keys(tmp_path, name) for name in ("a", "b")]
    for secret, public in pairs:
        assert zmq.curve_public(read_secret(secret)) == read_public(public)
    assert len({read_public(public) for _, public in pairs}) == 2


@posix
def test_a_secret_is_for_its_owner_alone_even_where_the_mask_is_open(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        secret, _ = new_keys(tmp_path, "a")
    finally:
        os.umask(mask)
    assert secret.stat().st_mode & 0o777 == 0o600


@posix
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602, 0o666])
def test_a_secret_that_others_may_read_or_write_is_refused(keys: Path, mode: int) -> None:
    (keys / "server.secret").chmod(mode)
    with pytest.raises(UserError, match=r"server\.secret is a secret that others .*chmod 600"):
        Gate(keys)


@posix
def test_a_list_in_which_anyone_may_write_is_refused(keys: Path) -> None:
    (keys / "allowed").chmod(0o777)
    with pytest.raises(UserError, match="chmod o-w"):
        Gate(keys)


def test_keys_are_never_overwritten(keys: Path) -> None:
    before = {path.name: path.read_bytes() for path in keys.iterdir() if path.is_file()}
    with pytest.raises(UserError, match=r"server\.secret exists"):
        new_keys(keys, "server")
    (keys / "server.secret").unlink()
    with pytest.raises(UserError, match=r"server\.public exists"):
        new_keys(keys, "server")
    assert {path.name: path.read_bytes() for path in keys.iterdir() if path.is_file()}.items() <= before.items()


def test_allowed_keys_are_listed_by_name_until_they_are_removed(keys: Path) -> None:
    _, public = new_keys(keys, "ward-3")
    allow(keys, public)
    allow(keys, public)
    assert read_allowed(keys).names == {read_public(public): "ward-3"}
    remove(keys, "ward-3")
    assert read_allowed(keys).names == {}
    with pytest.raises(UserError, match="'ward-3' is not removed"):
        remove(keys, "ward-3")


def test_one_name_is_one_key_and_one_key_one_name(keys: Path, tmp_path: Path) -> None:
    _, first = new_keys(tmp_path / "one", "dashboard")
    _, second = new_keys(tmp_path / "two", "dashboard")
    allow(keys, first)
    with pytest.raises(UserError, match="holds another key"):
        allow(keys, second)
    with pytest.raises(UserError, match="allowed already, as 'dashboard'"):
        allow(keys, first, "other")
    allow(keys, second, "other")
    assert sorted(read_allowed(keys).names.values()) == ["dashboard", "other"]


def test_what_is_no_key_lets_no_one_in_and_is_named(keys: Path) -> None:
    _, public = new_keys(keys, "good")
    allow(keys, public)
    (keys / "allowed" / "torn.public").write_bytes(public.read_bytes()[:20])
    (keys / "allowed" / "secret.public").write_bytes((keys / "good.secret").read_bytes())
    (keys / "allowed" / "notes.txt").write_text("ward 3")
    allowed = read_allowed(keys)
    assert list(allowed.names.values()) == ["good"]
    assert len(allowed.problems) == 2
    assert Gate(keys).problems == allowed.problems


def test_a_list_is_read_to_a_bound(keys: Path) -> None:
    _, public = new_keys(keys, "good")
    for number in range(MOST_ALLOWED + 1):
        (keys / "allowed" / f"n{number}.public").write_bytes(public.read_bytes())
    assert "more than 1000" in read_allowed(keys).problems[0]


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../evil", "a/b", "a\\b", ".hidden", "a b", "a\n", "é", "a" * 65, "a."]
)
def test_a_name_cannot_leave_the_folder(keys: Path, name: str) -> None:
    for act in (new_keys, remove):
        with pytest.raises(UserError, match="letters, digits"):
            act(keys, name)
    with pytest.raises(UserError, match="letters, digits"):
        allow(keys, keys / "server.public", name)


def test_a_secret_is_not_taken_for_a_public_key(keys: Path) -> None:
    with pytest.raises(UserError, match="never leaves its machine"):
        allow(keys, keys / "server.secret")
    with pytest.raises(UserError, match=r"name the \.secret file"):
        read_secret(keys / "server.public")


def test_a_key_from_an_editor_of_another_system_is_read(keys: Path) -> None:
    public = keys / "server.public"
    key = read_public(public)
    for end in (b"", b"\r\n"):
        public.write_bytes(b"curve-public " + key + end)
        assert read_public(public) == key


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"curve-public ",
        b"curve-public " + b"a" * 39,
        b"curve-public " + b"a" * 41,
        b"curve-public " + b"#" * 40,  # more than four bytes hold
        b"curve-public " + b"a" * 39 + b"~",
        b"curve-public " + b"a" * 40 + b"\n\n",
        b"curve-public " + b"a" * 40 + b"\ncurve-public " + b"b" * 40,
        b"\xef\xbb\xbfcurve-public " + b"a" * 40,
        b"a" * 10**6,
    ],
)
def test_what_is_no_key_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "k.public"
    path.write_bytes(content)
    with pytest.raises(UserError, match="is no key") as refusal:
        read_public(path)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < len(str(path)) + 200


@given(
    st.binary(max_size=2 * LARGEST_BYTES)
    | st.tuples(st.sampled_from([b"curve-public ", b"curve-secret "]), st.binary(max_size=60)).map(b"".join)
)
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_key_or_an_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.public"
    path.write_bytes(content)
    path.chmod(0o600)
    for read in (read_public, read_secret):
        with suppress(UserError):
            assert len(read(path)) == 40


@posix
def test_a_pipe_or_a_folder_is_no_key(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.public")
    (tmp_path / "folder.public").mkdir()
    for name in ("pipe", "folder", "nothing", "nul\0"):
        with pytest.raises(UserError):
            read_public(tmp_path / f"{name}.public")


def test_a_client_finds_its_own_secret_beside_the_bed_s_public_key(keys: Path) -> None:
    with pytest.raises(UserError, match="0 client secrets"):
        client_keys(keys)
    new_keys(keys, "dashboard")
    own = client_keys(keys)
    assert own == ClientKeys(read_secret(keys / "dashboard.secret"), read_public(keys / "server.public"))
    assert own.secret.decode() not in repr(own)
    new_keys(keys, "other")
    with pytest.raises(UserError, match="2 client secrets"):
        client_keys(keys)
    assert client_keys(keys, "dashboard") == own
    (keys / "server.public").unlink()
    with pytest.raises(UserError, match="copy it from the keys of the bed"):
        client_keys(keys, "dashboard")


def test_a_folder_without_a_server_is_no_bed_s(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"server\.secret is not there .*hypnostream keys new"):
        Gate(tmp_path)


# -- the commands


def test_three_commands_make_a_bed_and_a_listener(cli: Cli) -> None:
    assert cli("keys", "new", "server").code == 0
    assert "hypnostream keys allow dashboard.public" in cli("keys", "new", "dashboard", "--folder", "elsewhere").out
    assert cli("keys", "allow", "elsewhere/dashboard.public").code == 0
    listed = cli("keys", "list")
    assert (listed.code, listed.err) == (0, "")
    assert listed.out.split() == ["dashboard", read_public(Path("elsewhere/dashboard.public")).decode()]
    assert cli("keys", "list", "--json").out.startswith('{\n  "dashboard": ')
    Path("keys/allowed/torn.public").write_text("x")
    assert "torn.public is no key" in cli("keys", "list").err
    Path("keys/allowed/torn.public").unlink()
    assert cli("keys", "remove", "dashboard").code == 0
    assert cli("keys", "list").out == "no one: keys allows no key\n"


def test_no_command_says_a_secret(cli: Cli) -> None:
    said = [cli("keys", "new", "server"), cli("keys", "new", "a"), cli("keys", "allow", "keys/a.public")]
    said += [cli("keys", "list"), cli("keys", "list", "--json"), cli("keys", "remove", "a")]
    for name in ("server", "a"):
        secret = read_secret(Path(f"keys/{name}.secret")).decode()
        assert not any(secret in each.out + each.err for each in said)


def test_a_mistake_with_keys_is_one_line(cli: Cli, tmp_path: Path) -> None:
    assert_one_line(cli("keys", "list"), "keys has no allow-list", "keys new server")
    assert_one_line(cli("keys", "allow", tmp_path / "x.public"), "x.public")
    assert cli("keys", "new", "server").code == 0
    assert_one_line(cli("keys", "new", "server"), "exists")
    assert_one_line(cli("keys", "remove", "nobody"), "nobody")
    (tmp_path / "file").write_text("")
    assert_one_line(cli("keys", "new", "server", "--folder", tmp_path / "file"), "cannot write keys")


def test_other_machines_reach_a_replay_only_with_keys_or_when_it_is_said(
    cli: Cli, edf: Path, caplog: pytest.LogCaptureFixture
) -> None:
    arguments = ("replay", edf, "--publish", "tcp://0.0.0.0:*")
    assert_one_line(cli(*arguments), "only this machine can reach", "keys new", "insecure")
    Path("bed.toml").write_text('[publish]\nkeys = "keys"\n')
    assert_one_line(cli(*arguments, "--config", "bed.toml"), "keys/server.secret is not there", "keys new")
    assert_one_line(cli(*arguments, "--config", "bed.toml", "--insecure"), "exclude each other")
    insecure = cli(*arguments, "--insecure", "--out", "night")
    assert insecure.code == 0
    assert "is insecure: whoever reaches it can read everything" in caplog.text
    assert cli("keys", "new", "server").code == 0
    secured = cli(*arguments, "--config", "bed.toml", "--out", "night")
    assert (secured.code, secured.err) == (0, "")
    assert len(caplog.records) == 1
