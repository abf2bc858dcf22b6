"""Nothing that only Linux has, but where docs/platforms.md says so with a reason, and says what happens elsewhere."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import hypnostream
from tests.documentation import code_in, table, text_of

HOUSE = Path(hypnostream.__file__).parent

# Modules and names that Windows (or macOS) lacks.
MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty", "spwd", "crypt", "pyinotify"}
NAMES = {
    "os": {
        "fork", "forkpty", "posix_spawn", "posix_spawnp", "wait", "wait3", "wait4", "waitid", "waitpid", "getuid",
        "geteuid", "getgid", "setuid", "setgid", "setsid", "getpgid", "setpgid", "killpg", "nice", "mkfifo", "mknod",
        "chown", "fchown", "lchown", "chroot", "getloadavg", "sched_getaffinity", "sched_setaffinity", "getpriority",
        "setpriority", "memfd_create", "eventfd", "pidfd_open", "sendfile", "splice", "statvfs", "sysconf", "uname",
        "posix_fallocate", "posix_fadvise", "fdatasync", "sync", "O_DIRECT", "O_NOFOLLOW", "O_DIRECTORY", "O_TMPFILE",
        "O_CLOEXEC", "O_NONBLOCK", "openpty", "ttyname", "getpgrp", "tcgetpgrp", "WNOHANG",
    },
    "ctypes": {"CDLL", "cdll", "windll"},
    "signal": {
        "SIGKILL", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGCHLD", "SIGPIPE", "SIGSTOP", "SIGCONT", "SIGQUIT",
        "alarm", "setitimer", "pause", "pthread_sigmask", "pthread_kill", "sigwait", "set_wakeup_fd",
    },
    "socket": {"AF_UNIX", "AF_PACKET", "AF_NETLINK", "SO_REUSEPORT", "SO_BINDTODEVICE", "socketpair", "SCM_RIGHTS"},
    "select": {"epoll", "kqueue", "poll"},
    "time": {"tzset", "clock_gettime", "CLOCK_BOOTTIME", "CLOCK_MONOTONIC_RAW"},
}  # fmt: skip
PATHS = re.compile(r"^/(proc|sys|dev|etc|run|tmp|var|usr|home)(/|$)")


def found_in(path: Path) -> Iterator[str]:
    """What a file uses that is not everywhere: "os.fork", "fcntl", "/proc"."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=names):
                yield from (each.name for each in names if each.name.split(".")[0] in MODULES)
            case ast.ImportFrom(module=str(module), names=names):
                yield from ([module] if module.split(".")[0] in MODULES else [])
                yield from (f"{module}.{each.name}" for each in names if each.name in NAMES.get(module, ()))
            case ast.Attribute(value=ast.Name(id=module), attr=name) if name in NAMES.get(module, ()):
                yield f"{module}.{name}"
            case ast.Constant(value=str(text)) if text == "fork":
                yield "fork"
            case ast.Constant(value=str(text)) if (match := PATHS.match(text)) and "\n" not in text:
                yield f"/{match[1]}"


def found() -> set[tuple[str, str]]:
    """Every place by its file and what it uses."""
    return {
        (f"hypnostream/{path.relative_to(HOUSE).as_posix()}", name)
        for path in HOUSE.rglob("*.py")
        for name in found_in(path)
    }


def allowed() -> set[tuple[str, str]]:
    """The table of docs/platforms.md."""
    rows = table("docs/platforms.md", "file")
    assert all(reason for _, _, reason in rows)
    return {(code_in(file)[0], name) for file, names, _ in rows for name in code_in(names)}


def test_the_search_finds_what_it_looks_for(tmp_path: Path) -> None:
    sample = tmp_path / "sample.py"
    sample.write_text(
        "import fcntl, os\nfrom signal import SIGKILL\nos.fork()\nopen('/proc/stat')\n"
        "multiprocessing.get_context('fork')\nos.path.join('a')\nprint('/profile')\n"
    )
    assert set(found_in(sample)) == {"fcntl", "signal.SIGKILL", "os.fork", "/proc", "fork"}


def test_what_not_every_system_has_is_used_only_where_it_is_said() -> None:
    assert sorted(found() - allowed()) == [], "guard it, use what every system has, or say so in docs/platforms.md"


def test_what_is_said_is_still_so() -> None:
    assert sorted(allowed() - found()) == []


def test_the_page_says_what_was_not_tried() -> None:
    assert "Not tried" in text_of("docs/platforms.md")
