"""Run a job in a child of the host, a process of its run that has imported packages already."""

import contextlib
import hashlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Collection, Iterator
from importlib import util
from pathlib import Path
from typing import IO, Any

from truehessian.pipeline.stage import host, installed

# Number of the main process of the run. Whoever sets it to anything else before Snakemake is
# started, such as "off", gets each job in its own process.
VARIABLE = "TRUEHESSIAN_HOST"
_GUEST = "guest"
_MOST = 4  # hosts of a run, one for each way in which jobs are started
_IDLE = 60.0  # seconds without a job until a host ends
# What every job imports beside the packages of its stage, and what these import late.
_OF_ALL = ["snakemake.io", "snakemake.iocontainers", "snakemake.logging", "lazy_loader"]
_OF_ALL += ["filelock", "platformdirs", "pydantic.main", "pydantic.type_adapter"]
_LATE = {
    "matplotlib": [f"matplotlib.backends.backend_{kind}" for kind in ("agg", "pdf", "svg")],
    "pandas": ["pandas.io.formats.style"],
}
# Libraries that code reaches and few jobs need, which import these themselves: torchvision takes
# seconds, and with it comes Triton, which complains when a child ends.
_IN_JOBS = frozenset({"torchvision", "timm", "transformers"})
# Variables that say nothing to a library when it is loaded.
_INDIFFERENT = frozenset({"_", "SHLVL", "PWD", "OLDPWD"})
_OURS = "TRUEHESSIAN_"


def offer() -> None:
    """Let jobs that this process will start have a host, unless the user has said no."""
    if os.environ.get(VARIABLE, "0").isdigit():
        os.environ[VARIABLE] = str(os.getpid())


def is_guest() -> bool:
    """Whether this process is a child of the host."""
    return os.environ.get(VARIABLE) == _GUEST


def is_possible(membership: str | None) -> bool:
    """Whether a host may serve this job: one that its run has started here, and no cluster.

    Parameters
    ----------
    membership
        See `presence.begin`.
    """
    run = os.environ.get(VARIABLE, "")
    return (
        sys.platform == "linux"
        and hasattr(os, "pidfd_open")
        and bool(membership)
        and run.isdigit()
        and int(run) in (os.getppid(), _parent_of(os.getppid()))
    )


def run_again(membership: str, modules: Collection[str]) -> int | None:
    """Run the command of this process again, in a child of the host, and wait for it.

    Signals from the keyboard are passed on. If this process dies, so does the child.

    Parameters
    ----------
    membership
        See `presence.begin`.
    modules
        What the child will import, of any packages.

    Returns
    -------
    int or None
        The child's status; None if there is no host, or it died, and the child with it.

    Raises
    ------
    KeyboardInterrupt
        This process was interrupted, and the host has died.
    """
    environment = {**os.environ, VARIABLE: _GUEST}
    order = host.Order(sys.argv, environment, modules_of_host(modules))
    try:
        with _connected(Path(membership.partition(":")[2])) as connection:
            status = _status(connection, order)
    except OSError:
        return None
    if status is not None and status < 0:
        with contextlib.suppress(OSError):  # some cannot be handled in any way
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


def modules_of_host(modules: Collection[str]) -> list[str]:
    """Choose what a host imports of what a job will, beside what all jobs do."""
    packages = {each.partition(".")[0] for each in modules} - _IN_JOBS
    known = {name for name in packages if _is_installed(name)}
    wanted = sorted(name for name in modules if name.partition(".")[0] in known)
    late = [name for package in sorted(known) for name in _LATE.get(package, ())]
    return [*_OF_ALL, *wanted, *late]


def _status(connection: socket.socket, order: host.Order) -> int | None:
    """Give an order, and wait for how it ends."""
    interrupted = []

    def pass_on(number: int, _: Any) -> None:
        interrupted.append(number)
        with contextlib.suppress(OSError):
            connection.send(bytes([number]))

    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # else this process is to ignore it
        signal.signal(signal.SIGINT, pass_on)
    try:
        with _woken_by_signals() as woken:
            _send(connection, order)
            answer = b""
            while len(answer) < len(host.STARTED) + host.STATUS.size:
                if connection not in select.select([connection, woken], [], [])[0]:
                    woken.recv(64)
                    continue
                part = connection.recv(64)
                if not part:
                    break
                answer += part
    finally:
        signal.signal(signal.SIGINT, before)
    status = answer.removeprefix(host.STARTED)
    if len(status) == host.STATUS.size:
        return int(host.STATUS.unpack(status)[0])
    if interrupted:
        raise KeyboardInterrupt
    return None


@contextlib.contextmanager
def _woken_by_signals() -> Iterator[socket.socket]:
    """Give a socket that has something to read once a signal has come.

    One that comes just before a call that waits would be handled only when that returns.
    """
    woken, waking = socket.socketpair()
    with woken, waking:
        waking.setblocking(False)
        before = signal.set_wakeup_fd(waking.fileno(), warn_on_full_buffer=False)
        try:
            yield woken
        finally:
            signal.set_wakeup_fd(before)


def _send(connection: socket.socket, order: host.Order) -> None:
    content = json.dumps(order._asdict()).encode()
    folder = os.open(".", os.O_RDONLY)
    try:
        socket.send_fds(connection, [host.LENGTH.pack(len(content))], [0, 1, 2, folder])
    finally:
        os.close(folder)
    connection.sendall(content)


@contextlib.contextmanager
def _connected(folder: Path) -> Iterator[socket.socket]:
    """Connect to the host that serves processes like this one; start it if there is none.

    Raises
    ------
    OSError
        There is none, and none can be started.
    """
    import fcntl

    run = os.environ[VARIABLE]
    name = f"truehessian-{run}-{_likeness()}.sock"
    directory = os.open(folder, os.O_RDONLY)
    try:
        path = f"/proc/self/fd/{directory}/{name}"  # a short one: addresses have 107 bytes
        with (folder / "truehessian.hosts").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                connection = _connection(path)
            except (FileNotFoundError, ConnectionRefusedError):
                _start(folder, name, path, lock)
                connection = _connection(path)
    finally:
        os.close(directory)
    with connection:
        if not host.is_of_this_user(connection):
            raise PermissionError(f"{folder / name} is another user's")
        yield connection


def _connection(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


def _start(folder: Path, name: str, path: str, lock: IO[str]) -> None:
    """Start a host; who connects at once waits until it has got so far."""
    run = os.environ[VARIABLE]
    for other in folder.glob("truehessian-*.sock"):  # of hosts that were killed
        if other.name == name or not Path(f"/proc/{other.name.split('-')[1]}").exists():
            other.unlink(missing_ok=True)
    if len(list(folder.glob(f"truehessian-{run}-*.sock"))) >= _MOST:
        raise OSError("there are enough")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        os.chmod(path, 0o600)
        listener.listen(128)
        command = [sys.executable, "-P", str(host.__file__), str(listener.fileno())]
        subprocess.Popen(  # noqa: S603
            [*command, str((folder / name).absolute()), run, str(_IDLE)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
            start_new_session=True,
        )


def _likeness() -> str:
    """Digest of what libraries see when they are loaded: processes that share it share a host."""
    told = {
        name: value
        for name, value in os.environ.items()
        if name not in _INDIFFERENT and not name.startswith(_OURS)
    }
    interpreter = [sys.executable, sys.version, sys.flags, os.getcwd()]
    seen = [*interpreter, installed.folders(), sorted(told.items())]
    return hashlib.sha256(repr(seen).encode(errors="surrogateescape")).hexdigest()[:16]


def _is_installed(package: str) -> bool:
    """Whether a package is an installed one, and no module of the user's."""
    spec = util.find_spec(package)
    return spec is not None and installed.is_installed(Path(spec.origin or ""))


def _parent_of(process: int) -> int:
    """Find the number of a process's parent; 0 if it has none."""
    try:
        # The name of the program stands in brackets, and may hold anything.
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0
