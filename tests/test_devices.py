"""Devices: their names, their arithmetic, and what memory they have left."""

import os

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from truehessian import devices


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


def test_recurrent_layers_alone_do_without_cudnn(cuda):
    seen = []

    class Witness(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            if func in (torch.lstm, torch.gru, torch.rnn_tanh, torch.conv1d):
                seen.append((func.__name__, torch.backends.cudnn.enabled))
            return func(*args, **(kwargs or {}))

    inputs = torch.randn(2, 3, 4, device=cuda)
    layers = [nn.LSTM(4, 2), nn.GRU(4, 2), nn.RNN(4, 2), nn.Conv1d(3, 2, 1)]
    with Witness(), devices.twice_differentiable(cuda):
        for layer in layers:
            layer.to(cuda)(inputs)
    expected = [("lstm", False), ("gru", False), ("rnn_tanh", False), ("conv1d", True)]
    assert seen == expected
    assert torch.backends.cudnn.enabled
