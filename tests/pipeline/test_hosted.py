"""Jobs in children of a process that has imported packages are as good as on their own."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from faults import wait_until

from truehessian.pipeline.stage import hosted
from truehessian.pipeline.stage.fingerprint import imports

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no host")

# A job as Snakemake starts it: it asks for a child, in which the same file does the work.
JOB = """
import os, sys
began_with = set(sys.modules)
from truehessian.pipeline.stage import hosted
hosted._IDLE = {idle}
guest = hosted.is_guest()
if not guest:
    status = hosted.run_again("generation:" + {folder!r}, {modules!r})
    if status is not None:
        raise SystemExit(status)
{work}
"""


class Run:
    """A folder in which a run starts jobs; the run is this process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hosts: set[int] = set()
        (folder / ".snakemake").mkdir()

    def start(self, work: str, *arguments: str, modules=("numpy",), idle=60.0, **more: str):
        """Start a job; `more` are environment variables."""
        folder = str(self.folder / ".snakemake")
        text = JOB.format(folder=folder, modules=modules, idle=idle, work=textwrap.dedent(work))
        path = self.folder / f"job-{time.time_ns()}.py"
        path.write_text(text)
        environment = {**os.environ, hosted.VARIABLE: str(os.getpid()), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [sys.executable, path.name, *arguments],
            cwd=self.folder,
            env=environment | {"OPENBLAS_NUM_THREADS": "1"} | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def do(self, work: str, *arguments: str, **more):
        """Do a job: its status, and what it printed."""
        job = self.start(work, *arguments, **more)
        said, complaints = job.communicate(timeout=100)
        return job.returncode, said, complaints

    def host(self, **more) -> int:
        """Number of the process of the host."""
        status, said, complaints = self.do("print(guest, os.getppid())", **more)
        assert status == 0, complaints
        guest, process = said.split()
        assert guest == "True"
        self.hosts.add(int(process))
        return int(process)

    def noted(self, name: str) -> int:
        """Wait for a file that a job writes a process's number into."""
        path = self.folder / name
        wait_until(lambda: path.exists() and path.read_text().endswith("."))
        return int(path.read_text()[:-1])


@pytest.fixture
def run(tmp_path):
    """A run, whose hosts are ended."""
    made = Run(tmp_path)
    yield made
    for process in made.hosts:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def is_alive(process: int) -> bool:
    """Whether a process has not ended; one that nobody has asked for its status has."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


NOTE = """
import time
path = os.path.join({folder!r}, "{name}")
with open(path, "w") as file:
    file.write(f"{{os.getpid()}}.")
"""


def test_a_child_has_all_that_the_job_has_and_modules_are_there_already(run, monkeypatch):
    monkeypatch.setenv("OF_A_USER", "ein Wörtchen")
    run.host()
    work = """
    print(guest, sys.argv[1:], os.getcwd(), os.environ["OF_A_USER"], __name__, sep="|")
    print("complaint", file=sys.stderr)
    print("numpy" in began_with, any(name.startswith("truehessian") for name in began_with))
    """
    status, said, complaints = run.do(work, "one", "two")
    assert status == 0
    assert said.splitlines() == [
        f"True|['one', 'two']|{run.folder}|ein Wörtchen|__main__",
        "True False",
    ]
    assert complaints == "complaint\n"


def test_one_host_serves_all_jobs_of_its_kind(run):
    first = run.host()
    assert run.host() == first
    # Libraries look at some variables only when they are loaded.
    assert run.host(OMP_NUM_THREADS="2") != first
    # Those of the run itself change as it goes on.
    assert run.host(TRUEHESSIAN_CODE="2") == first


def test_code_of_a_user_is_that_of_the_moment(run):
    """Neither it nor code of the project is ever imported in the host."""
    (run.folder / "own_module.py").write_text("VALUE = 1\n")
    work = "sys.path.append('.')\nimport own_module\nprint(own_module.VALUE)"
    modules = ("own_module", "numpy", "truehessian.text")
    assert run.do(work, modules=modules)[1] == "1\n"
    (run.folder / "own_module.py").write_text("VALUE = 2\n")
    assert run.do(work, modules=modules)[1] == "2\n"
    run.host()


@pytest.mark.parametrize(
    ("ending", "status", "complaint"),
    [
        ("pass", 0, ""),
        ("sys.exit(3)", 3, ""),
        ("sys.exit('a sentence')", 1, "a sentence\n"),
        ("raise ValueError('wrong')", 1, "ValueError: wrong\n"),
        ("os.kill(os.getpid(), 9)", -signal.SIGKILL, ""),
        ("os.abort()", -signal.SIGABRT, ""),
    ],
)
def test_a_job_ends_as_its_child_does(run, ending, status, complaint):
    run.host()
    found, _, complaints = run.do(f"assert guest\n{ending}")
    assert found == status
    assert complaints.endswith(complaint)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_job_that_is_killed_takes_its_child_with_it(run, how):
    host = run.host()
    note = NOTE.format(folder=str(run.folder), name="child")
    job = run.start(f"{note}\nassert guest\ntime.sleep(100)")
    child = run.noted("child")
    job.send_signal(how)
    assert job.wait(10) == -how
    wait_until(lambda: not is_alive(child))
    job.communicate()
    assert run.host() == host


def test_a_child_is_interrupted_once_and_says_how_it_ends(run):
    run.host()
    note = NOTE.format(folder=str(run.folder), name="child")
    work = f"""
{note}
try:
    time.sleep(100)
except KeyboardInterrupt:
    time.sleep(0.5)  # a second one would end it here
    print("interrupted")
    sys.exit(130)
"""
    job = run.start(work)
    run.noted("child")
    job.send_signal(signal.SIGINT)
    said, complaints = job.communicate(timeout=10)
    assert (job.returncode, said, complaints) == (130, "interrupted\n", "")


def test_a_job_whose_host_dies_goes_on_by_itself(run):
    host = run.host()
    note = NOTE.format(folder=str(run.folder), name="child")
    job = run.start(
        f"if guest:\n{textwrap.indent(note, '    ')}\n    time.sleep(100)\nprint(guest)"
    )
    child = run.noted("child")
    os.kill(host, signal.SIGKILL)
    said, _ = job.communicate(timeout=10)
    assert (job.returncode, said) == (0, "False\n")
    assert not is_alive(child)
    assert run.host() != host, "and the next one starts another host"


def test_the_host_ends_with_its_run_and_when_nobody_asks(run):
    host = run.host(idle=0.5)
    wait_until(lambda: not is_alive(host))
    assert not list(run.folder.glob(".snakemake/*.sock"))
    inner = f"""
    import subprocess
    if {hosted.VARIABLE!r} in os.environ and guest:
        print(os.getppid())
    """
    job = run.folder / "inner.py"
    folder = str(run.folder / ".snakemake")
    job.write_text(JOB.format(folder=folder, modules=(), idle=60, work=textwrap.dedent(inner)))
    outer = (
        "import os, subprocess, sys;"
        f"os.environ[{hosted.VARIABLE!r}] = str(os.getpid());"
        f"subprocess.run([sys.executable, {str(job)!r}], check=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", outer], cwd=run.folder, capture_output=True, text=True, check=True
    )
    wait_until(lambda: not is_alive(int(done.stdout)))
    assert not list(run.folder.glob(".snakemake/*.sock"))


def test_pytorch_starts_no_threads_in_the_host_and_computes_in_its_children(run):
    work = """
    import torch
    threads = len(os.listdir(f"/proc/{os.getppid()}/task"))
    torch.set_num_threads(2)
    matrix = torch.arange(1e6).reshape(1000, 1000) / 1e6
    print(guest, "torch" in began_with, threads, (matrix @ matrix).double().sum().item())
    """
    there = [run.do(work, modules=("torch", "numpy")) for _ in range(2)]
    alone = run.do(work, TRUEHESSIAN_HOST="off")
    run.host()
    assert [status for status, _, _ in (*there, alone)] == [0, 0, 0]
    numbers = [said.split() for _, said, _ in (*there, alone)]
    assert numbers[0][:3] == numbers[1][:3] == ["True", "True", "1"]
    assert numbers[2][:2] == ["False", "False"]
    assert len({number[3] for number in numbers}) == 1


@pytest.mark.parametrize("value", ["off", "guest", "1", ""])
def test_who_is_no_child_of_a_run_on_this_machine_has_no_host(value, monkeypatch):
    monkeypatch.setenv(hosted.VARIABLE, str(os.getppid()))
    assert hosted.is_possible("generation:folder")
    assert not hosted.is_possible("")
    assert not hosted.is_possible(None)
    monkeypatch.setenv(hosted.VARIABLE, value)
    assert not hosted.is_possible("generation:folder")


def test_a_user_may_say_no(monkeypatch):
    monkeypatch.setenv(hosted.VARIABLE, "off")
    hosted.offer()
    assert os.environ[hosted.VARIABLE] == "off"
    monkeypatch.delenv(hosted.VARIABLE)
    hosted.offer()
    assert re.fullmatch(r"\d+", os.environ[hosted.VARIABLE])


def test_libraries_that_few_jobs_need_are_not_imported_for_all():
    """A child that has Triton from its host prints a hundred lines when it ends."""
    script = Path(__file__).parents[2] / "scripts/prepare_dataset.py"
    reached = imports(script)
    assert any(name.startswith("torchvision") for name in reached)
    assert not any(name.startswith("torchvision") for name in hosted.modules_of_host(reached))
    assert "torch" in hosted.modules_of_host(reached)
