"""A process that has imported packages, and forks a child for each job that needs them.

To import PyTorch takes seconds of processor time, and most jobs of a run need it. The first one
that has something to compute starts this process for its run, see `hosted`. It imports packages
that are installed, and never code of the project or of a user, which a child imports as it is at
that time; it computes nothing, and touches no GPU. So a child is as good as a process of its own.
The host ends with its run, and when nobody has asked for long.

The file is run by its path and imports nothing of the project.
"""

import array
import contextlib
import ctypes
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import struct
import sys
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

STARTED = b"+"
NUM_FILES = 4  # standard input, output and error, and the working directory
STATUS = struct.Struct("!i")
LENGTH = struct.Struct("!I")
_PATIENCE = 10.0  # seconds for a job to say what it wants
_PR_SET_PDEATHSIG = 1


class Order(NamedTuple):
    """What a child is to do.

    Attributes
    ----------
    arguments
        Of the command, the path of its Python file first.
    environment
        All its variables.
    modules
        Names of modules of installed packages that it will import. Some may be no modules but names
        in one.
    """

    arguments: list[str]
    environment: dict[str, str]
    modules: list[str]


class Guest(NamedTuple):
    """A child, and the job that waits for it."""

    process: int
    ending: int  # a file descriptor, readable when it has ended
    job: socket.socket


class Host:
    """The loop of the host.

    Parameters
    ----------
    listener
        Where jobs connect.
    path
        Of the listener, which is removed at the end.
    run
        File descriptor of the process of the run.
    idle
        Seconds without a job after which it ends.
    """

    def __init__(self, listener: socket.socket, path: str, run: int, idle: float) -> None:
        self._listener, self._path, self._run, self._idle = listener, path, run, idle
        self._guests: list[Guest] = []
        self._open = True
        self._selector = selectors.DefaultSelector()
        self._watch(listener, self._welcome)
        self._watch(run, lambda: self._close(run))

    def serve(self) -> Order | None:
        """Serve until the run has ended; None then, and in each child what it is to do."""
        while self._guests or self._open:
            ready = self._selector.select(None if self._guests else self._idle)
            if not ready:
                self._close(self._run)
            for key, _ in ready[:1]:  # which may end what else is ready; that will be so again
                order: Order | None = key.data()
                if order is not None:
                    return order
        return None

    def _watch(self, file: Any, act: Callable[[], Order | None]) -> None:
        self._selector.register(file, selectors.EVENT_READ, act)

    def _close(self, run: int) -> None:
        """Take no more jobs."""
        if self._open:
            self._open = False
            with contextlib.suppress(OSError):
                os.unlink(self._path)
            for file in (self._listener, run):
                self._selector.unregister(file)
            self._listener.close()
            os.close(run)

    def _welcome(self) -> Order | None:
        """Take a job in: None in the host, its order in the child."""
        job, _ = self._listener.accept()
        files: list[int] = []
        try:
            job.settimeout(_PATIENCE)
            order = _received(job, files)
            imported(order.modules)
            _check_no_gpu_is_in_use()
            gc.freeze()  # to collect garbage in a child would copy all of it
            parent = os.getpid()
            process = os.fork()
        except (OSError, ValueError, TypeError, RuntimeError):
            job.close()  # which tells the job to do without
        else:
            if process == 0:
                _end_with(parent)
                self._leave(job)
                _settle_in(order, files)
                return order
            guest = Guest(process, os.pidfd_open(process), job)
            self._guests.append(guest)
            self._watch(job, lambda: self._hear(guest))
            self._watch(guest.ending, lambda: self._part(guest))
            with contextlib.suppress(OSError):
                job.sendall(STARTED)
        finally:
            for file in files:
                with contextlib.suppress(OSError):
                    os.close(file)
        return None

    def _leave(self, job: socket.socket) -> None:
        """Let go, in a child, of what is the host's."""
        self._selector.close()
        if self._open:
            self._listener.close()
            os.close(self._run)
        for each in [job, *(guest.job for guest in self._guests)]:
            each.close()
        for guest in self._guests:
            os.close(guest.ending)

    def _hear(self, guest: Guest) -> None:
        """Pass on the signals that a job has got; a job that is dead takes its child with it."""
        try:
            said = guest.job.recv(64)
        except OSError:
            said = b""
        for number in said or [signal.SIGKILL]:
            os.kill(guest.process, number)
        if not said:
            self._selector.unregister(guest.job)

    def _part(self, guest: Guest) -> None:
        """Tell a job how its child has ended."""
        _, status = os.waitpid(guest.process, 0)
        with contextlib.suppress(OSError):
            guest.job.sendall(STATUS.pack(os.waitstatus_to_exitcode(status)))
        for file in (guest.job, guest.ending):
            with contextlib.suppress(KeyError):
                self._selector.unregister(file)
        guest.job.close()
        os.close(guest.ending)
        self._guests.remove(guest)


def imported(modules: Iterable[str]) -> None:
    """Import modules; what is none is passed over: whoever needs it will say so."""
    for name in modules:
        parent, _, last = name.rpartition(".")
        if name in sys.modules or (parent and hasattr(sys.modules.get(parent), last)):
            continue
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def is_of_this_user(connection: socket.socket) -> bool:
    """Whether the process at the other end is of the same user."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    _, user, _ = struct.unpack("3i", credentials)
    return bool(user == os.getuid())


def _received(job: socket.socket, files: list[int]) -> Order:
    """Read what a job wants; its files are added to a list, whatever happens.

    Raises
    ------
    OSError
        It is not there in time, or another user's.
    ValueError
        It is no order.
    """
    if not is_of_this_user(job):
        raise PermissionError
    space = socket.CMSG_SPACE(NUM_FILES * array.array("i").itemsize)
    head, ancillary, _, _ = job.recvmsg(LENGTH.size, space)
    for _, _, data in ancillary:
        numbers = array.array("i")
        numbers.frombytes(data)
        files.extend(numbers)
    if len(head) < LENGTH.size or len(files) != NUM_FILES:
        raise ValueError("not all of it is there")
    content = b""
    (length,) = LENGTH.unpack(head)
    while len(content) < length:
        part = job.recv(length - len(content))
        if not part:
            raise ValueError("not all of it is there")
        content += part
    return Order(**json.loads(content))


def _check_no_gpu_is_in_use() -> None:
    """Refuse to fork where a package has begun to use a GPU when it was imported.

    Raises
    ------
    RuntimeError
        CUDA does not work in a child of such a process.
    """
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        raise RuntimeError("a package has initialised CUDA")


def _end_with(parent: int) -> None:
    """Let the system kill this child when the host dies."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has died before
        os._exit(1)


def _settle_in(order: Order, files: list[int]) -> None:
    """Become, in a child, the process that the job would have been."""
    for target, file in enumerate(files[:3]):
        os.dup2(file, target)
    streams: list[Any] = [sys.stdout, sys.stderr]
    for stream in streams:
        stream.reconfigure(line_buffering=stream.isatty() or stream is sys.stderr)
    os.fchdir(files[3])
    os.environ.clear()
    os.environ.update(order.environment)
    sys.argv[:] = order.arguments
    if "numpy.random" in sys.modules:  # what has no seed must not repeat
        sys.modules["numpy.random"].seed()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])


def main(listener: int, path: str, run: int, idle: float) -> None:
    """Serve a run, whose process has the number `run`, on a socket that is open already."""
    # A job passes on what it gets; what comes before a child can take it waits.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    # A package that asks whether there is a GPU must not wake the driver: no child could use it.
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    try:
        process = os.pidfd_open(run)
    except OSError:  # it has ended
        return
    order = Host(socket.socket(fileno=listener), path, process, idle).serve()
    if order is not None:
        runpy.run_path(order.arguments[0], run_name="__main__")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
