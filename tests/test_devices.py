"""What memory there is left, by the kernel's files."""

import os

import pytest
import torch

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


@pytest.mark.parametrize("tf32", [True, False])
def test_algorithms_are_deterministic_inside_the_block_only(tf32):
    def flags():
        cudnn = torch.backends.cudnn
        allowed = torch.backends.cuda.matmul.allow_tf32, cudnn.allow_tf32
        return (*allowed, cudnn.deterministic, cudnn.benchmark)

    before = flags()
    with devices.deterministic_algorithms(tf32=tf32):
        assert flags() == (tf32, tf32, True, False)
    assert flags() == before
