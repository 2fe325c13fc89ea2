"""Devices: their names, their arithmetic, who uses them, and what memory they have left."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from truehessian import devices
from truehessian.operators.autograd.definition import ByDefinition


def machine(root, cgroup: str, files: dict[str, str]):
    for name, text in {"proc/self/cgroup": cgroup, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_limits_of_all_groups_above_a_job_count(tmp_path):
    """As under SLURM: the job has a limit, its step has none, and a cache can be taken back."""
    group = "sys/fs/cgroup/slurm/job"
    root = machine(
        tmp_path,
        "0::/slurm/job/step\n",
        {
            f"{group}/step/memory.max": "max\n",
            f"{group}/step/memory.current": "70\n",
            f"{group}/step/memory.stat": "anon 5\ninactive_file 30\n",
            f"{group}/memory.max": "100\n",
            f"{group}/memory.current": "80\n",
            f"{group}/memory.stat": "anon 50\ninactive_file 30\n",
        },
    )
    assert devices.control_group_rooms(root) == [50]


def test_first_version_of_control_groups_is_read_too(tmp_path):
    group = "sys/fs/cgroup/memory"
    root = machine(
        tmp_path,
        "4:memory:/job\n3:cpuset:/\n0::/\n",
        {
            f"{group}/job/memory.limit_in_bytes": "100\n",
            f"{group}/job/memory.usage_in_bytes": "130\n",
            f"{group}/job/memory.stat": "cache 20\ntotal_inactive_file 10\n",
            f"{group}/memory.limit_in_bytes": "1000\n",
            f"{group}/memory.usage_in_bytes": "200\n",
            f"{group}/memory.stat": "cache 20\n",
        },
    )
    assert devices.control_group_rooms(root) == [0, 800]


def test_system_without_control_groups_has_no_such_limit(tmp_path):
    assert devices.control_group_rooms(tmp_path) == []


def test_the_group_that_has_least_left_decides(monkeypatch):
    host = torch.device("cpu")
    monkeypatch.setattr(devices, "control_group_rooms", lambda: [7, 5])
    assert devices.available_bytes(host) == 5
    monkeypatch.setattr(devices, "control_group_rooms", list)
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < devices.available_bytes(host) <= total


def test_unknown_gpu_is_refused():
    if torch.cuda.is_available():
        pytest.skip("needs a machine without a GPU")
    with pytest.raises(ValueError, match="use device: auto"):
        devices.resolve("cuda")
    assert devices.resolve("auto").type == "cpu"
    assert devices.claim("auto").type == "cpu"


def test_gpus_are_named_with_their_index_as_tensors_name_them(cuda):
    for name in ("auto", "cuda", "cuda:0"):
        assert (
            devices.resolve(name)
            == cuda
            == torch.zeros(1, device=name if ":" in name else "cuda").device
        )
    with pytest.raises(ValueError, match=r"'cuda:31' is not there: PyTorch sees \d+ GPU"):
        devices.resolve("cuda:31")


def test_what_is_no_device_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match="device must be auto, cpu, cuda or cuda:1, got 'gpu'"):
        devices.resolve("gpu")


BACKENDS = torch.backends
SWITCHES = {
    "all": BACKENDS,
    "cudnn": BACKENDS.cudnn,
    "matmul": BACKENDS.cuda.matmul,
    "conv": BACKENDS.cudnn.conv,
    "rnn": BACKENDS.cudnn.rnn,
    "cpu matmul": BACKENDS.mkldnn.matmul,
    "cpu conv": BACKENDS.mkldnn.conv,
    "cpu rnn": BACKENDS.mkldnn.rnn,
}
DEFAULTS = dict.fromkeys(SWITCHES, "none") | {"conv": "tf32", "rnn": "tf32"}


def precisions() -> dict[str, str]:
    """What each switch gives while those above say nothing, and then what it gives in truth."""
    given = {name: switch.fp32_precision for name, switch in SWITCHES.items()}
    above = {}
    for name in ("all", "cudnn"):
        above[name] = SWITCHES[name].fp32_precision
        SWITCHES[name].fp32_precision = "none"
    own = {name: switch.fp32_precision for name, switch in SWITCHES.items()} | above
    for name, value in above.items():
        SWITCHES[name].fp32_precision = value
    return {**own, **{f"{name}, given": value for name, value in given.items()}}


@pytest.fixture
def callers(request):
    """Settings of the caller, by one API or the other; PyTorch's own afterwards."""
    chosen = request.param
    cudnn = torch.backends.cudnn
    for name, value in chosen.items():
        if name in SWITCHES:
            SWITCHES[name].fp32_precision = value
    if "legacy" in chosen:
        torch.backends.cuda.matmul.allow_tf32 = chosen["legacy"]
        cudnn.allow_tf32 = chosen["legacy"]
    if "level" in chosen:
        torch.set_float32_matmul_precision(chosen["level"])
    cudnn.enabled = chosen.get("enabled", True)
    cudnn.benchmark = chosen.get("benchmark", False)
    yield chosen
    cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("highest")
    for name, value in DEFAULTS.items():
        SWITCHES[name].fp32_precision = value
    cudnn.enabled, cudnn.benchmark = True, False


@pytest.mark.parametrize(
    "callers",
    [
        {},
        {"matmul": "tf32"},
        {"conv": "ieee", "benchmark": True},
        {"all": "tf32"},
        {"all": "tf32", "cudnn": "ieee"},
        {"all": "bf16", "cpu conv": "ieee"},
        {"legacy": True},
        {"legacy": False},
        {"level": "medium"},
        {"enabled": False},
    ],
    indirect=True,
    ids=str,
)
@pytest.mark.parametrize("tf32", [True, False])
def test_arithmetic_is_as_asked_inside_the_block_only(callers, tf32):
    cudnn = torch.backends.cudnn

    def flags():
        return (cudnn.enabled, cudnn.deterministic, cudnn.benchmark)

    before = flags(), precisions()
    with devices.deterministic_algorithms(tf32=tf32):
        assert flags() == (callers.get("enabled", True), True, False)
        for name in ("matmul", "conv", "rnn"):
            assert SWITCHES[name].fp32_precision == ("tf32" if tf32 else "ieee")
            assert SWITCHES[f"cpu {name}"].fp32_precision == "ieee"
    assert (flags(), precisions()) == before
    if "legacy" in callers:
        assert torch.backends.cuda.matmul.allow_tf32 is cudnn.allow_tf32 is callers["legacy"]


class Pretended:
    """GPUs that can be counted and named, and nothing else."""

    def __init__(self, monkeypatch, count, uuids=True):
        self.current = 0
        kind = SimpleNamespace
        for name, value in {
            "is_available": lambda: True,
            "device_count": lambda: count,
            "current_device": lambda: self.current,
            "set_device": self.choose,
            "get_device_properties": lambda d: kind(uuid=f"U{d.index}") if uuids else kind(),
        }.items():
            monkeypatch.setattr(torch.cuda, name, value)
        monkeypatch.setattr(devices, "_claimed", {})
        monkeypatch.setattr(devices, "_POLL", 0.02)

    def choose(self, device):
        self.current = device.index


OTHER_JOB = """
import sys, pytest, pathlib
sys.path.insert(0, sys.argv[1])
from test_devices import Pretended, devices
with pytest.MonkeyPatch.context() as patch:
    Pretended(patch, 2)
    print(devices.claim(sys.argv[2], pathlib.Path(sys.argv[3])), flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def other_job(tmp_path):
    """Start another process that claims a GPU, and holds it until its input ends."""
    started = []

    def start(name):
        here = str(Path(__file__).parent)
        process = subprocess.Popen(
            [sys.executable, "-c", OTHER_JOB, here, name, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        process.stdin.close()
        process.wait()
        process.stdout.close()


def test_jobs_of_one_machine_take_different_gpus_and_wait_for_one(
    monkeypatch, tmp_path, caplog, other_job
):
    caplog.set_level("INFO")
    pretended = Pretended(monkeypatch, 2)
    process, theirs = other_job("auto")
    assert theirs == "cuda:0"
    assert devices.claim("cuda", tmp_path) == torch.device("cuda:1")
    assert pretended.current == 1
    assert devices.claim("auto", tmp_path) == torch.device("cuda:1")  # ours already
    assert not caplog.records

    monkeypatch.setattr(devices, "_claimed", {"gpu-U7": devices._claimed.pop("gpu-U1")})
    threading.Timer(0.3, process.stdin.close).start()
    assert devices.claim("auto", tmp_path) == torch.device("cuda:0")
    assert "waiting for a GPU" in caplog.text
    assert process.wait() == 0


def test_a_gpu_that_is_named_is_taken_even_if_it_is_used(monkeypatch, tmp_path, caplog, other_job):
    caplog.set_level("INFO")
    Pretended(monkeypatch, 2)
    assert other_job("cuda:1")[1] == "cuda:1"
    assert devices.claim("cuda:1", tmp_path) == torch.device("cuda:1")
    assert "used by another job" in caplog.text
    assert devices.claim("auto", tmp_path) == torch.device("cuda:0")


def test_a_job_keeps_the_gpu_that_it_has(monkeypatch, tmp_path):
    Pretended(monkeypatch, 2)
    assert devices.claim("cuda:1", tmp_path) == torch.device("cuda:1")
    assert devices.claim("auto", tmp_path) == torch.device("cuda:1")  # though the first is free


def test_gpus_without_identity_are_told_apart_by_what_is_visible(monkeypatch, tmp_path):
    Pretended(monkeypatch, 2, uuids=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,MIG-GPU-5/1/0")
    for index, name in enumerate(["gpu-3", "gpu-MIG-GPU-5-1-0"]):
        assert devices._identity(torch.device("cuda", index)) == name
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert devices._identity(torch.device("cuda:1")) == "gpu-1"


def test_where_nothing_can_be_locked_a_gpu_is_taken_and_that_is_said(monkeypatch, tmp_path, caplog):
    Pretended(monkeypatch, 2)
    (tmp_path / "file").touch()
    assert devices.claim("auto", tmp_path / "file") == torch.device("cuda:0")
    assert "cannot be kept from other jobs" in caplog.text


def test_recurrent_layers_alone_do_without_cudnn(cuda):
    seen = []

    class Witness(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            if func in (torch.lstm, torch.gru, torch.rnn_tanh, torch.conv1d):
                seen.append((func.__name__, torch.backends.cudnn.enabled))
            return func(*args, **(kwargs or {}))

    inputs = torch.randn(2, 3, 4, device=cuda)
    layers = [nn.LSTM(4, 2), nn.GRU(4, 2), nn.RNN(4, 2), nn.Conv1d(3, 2, 1)]
    with Witness(), ByDefinition(torch.float32, cuda):
        for layer in layers:
            layer.to(cuda)(inputs)
    expected = [("lstm", False), ("gru", False), ("rnn_tanh", False), ("conv1d", True)]
    assert seen == expected
    assert torch.backends.cudnn.enabled
