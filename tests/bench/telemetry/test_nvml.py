"""NVML is only asked, metric by metric, about the right GPU; what it refuses is said, and what it loses ends it."""

from __future__ import annotations

import ast
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pynvml
import pytest

import mohge.bench.telemetry
from mohge.bench.telemetry import METRICS, NvmlSource, SourceLostError, UnavailableError, clock_watch, probe_nvml
from mohge.bench.telemetry.gpm import GPM_METRICS
from mohge.bench.telemetry.ring import clock_offset

Install = Callable[..., Any]
NOT_SUPPORTED, NO_PERMISSION = pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_NO_PERMISSION
UTILIZATION, ENERGY = "nvmlDeviceGetUtilizationRates", "nvmlDeviceGetTotalEnergyConsumption"


def opened(gpu: str | None = None, **environment: str) -> NvmlSource:
    source = NvmlSource(gpu, environment)
    source.open()
    return source


def values(source: NvmlSource, *, at: float = 0.0) -> dict[str, float]:
    """What two readings 0.15 s apart have together: GPM needs both."""
    return {**source.read(at).values, **source.read(at + 0.15).values}


# What it reads


def test_every_metric_comes_in_its_unit(nvml: Install) -> None:
    nvml()
    source = opened()
    found = values(source)
    assert found == {
        "utilization": 0.97,
        "memory_utilization": 0.41,
        "power_w": 645.5,
        "energy_j": 5120.0,
        "sm_mhz": 1980,
        "memory_mhz": 3201,
        "throttle": 0x24,
        "temperature_c": 63.0,
        "memory_bytes": 9 * 2**30,
        **dict.fromkeys(GPM_METRICS, 0.1),
        "sm": 0.91,
        "tensor": 0.55,
    }
    assert set(found) <= set(METRICS)
    assert source.describe() == {"name": "NVIDIA H200", "uuid": "GPU-aaaa-1", "driver": "580.65.06", "mig": False}
    assert source.unavailable == {}


def test_gpm_pairs_lie_over_100_ms_apart(nvml: Install) -> None:
    fake = nvml()
    source = opened()
    seen = [("sm" in source.read(t).values) for t in (0.0, 0.04, 0.08, 0.12, 0.16, 0.20, 0.23)]
    assert seen == [False, False, False, True, False, False, True]
    assert fake.gpm_taken == 2 + 2  # one when opened, one to begin with, one for each pair
    source.close()
    assert fake.freed == 2


def test_the_ring_buffer_keeps_its_own_times(nvml: Install) -> None:
    fake = nvml()
    source = opened()
    now = time.monotonic()
    assert source.read(now).earlier == ()  # what lay there before is of no use, and calibrates
    fake.ring += [(fake.now_us + 10_000, 30), (fake.now_us + 30_000, 70)]
    later = source.read(now + 0.1)
    assert [reading.values for reading in later.earlier] == [{"utilization_ring": 0.3}, {"utilization_ring": 0.7}]
    first, second = (reading.t for reading in later.earlier)
    assert second - first == pytest.approx(0.02, abs=1e-6)
    assert abs(first - now) < 5.0
    fake.busy = False
    assert source.read(now + 0.2).earlier == ()
    assert source.unavailable == {}


def test_a_stamp_is_matched_to_the_clock_that_made_it() -> None:
    now = time.monotonic()
    assert clock_offset(time.time() - 1.0, now) == pytest.approx(now - time.time(), abs=0.1)
    with pytest.raises(ValueError, match="fit no clock"):
        clock_offset(time.time() + 1e6, now)


def test_the_clocks_alone_are_three_questions(nvml: Install) -> None:
    fake = nvml()
    source = opened()
    fake.calls.clear()
    reading = source.clocks()
    assert reading is not None
    assert (reading.sm_mhz, reading.memory_mhz) == (1980, 3201)
    assert reading.throttle == ("sw_power_cap", "sw_thermal_slowdown")
    assert len(fake.calls) == 3
    assert clock_watch("cpu") is None


# What is refused


@pytest.mark.parametrize(
    ("refused", "code", "metrics", "reason"),
    [
        (UTILIZATION, NOT_SUPPORTED, ("utilization", "memory_utilization"), "Not Supported"),
        (UTILIZATION, NO_PERMISSION, ("utilization", "memory_utilization"), "no permission"),
        (ENERGY, NOT_SUPPORTED, ("energy_j",), "Not Supported"),
        (pynvml.NVML_FI_DEV_POWER_INSTANT, NOT_SUPPORTED, ("power_w",), "Not Supported"),
        (pynvml.NVML_GPM_METRIC_SM_OCCUPANCY, NOT_SUPPORTED, ("occupancy",), "Not Supported"),
        ("nvmlGpmQueryDeviceSupport", NOT_SUPPORTED, tuple(GPM_METRICS), "GPM: Not Supported"),
        ("nvmlGpmSampleGet", NO_PERMISSION, tuple(GPM_METRICS), "GPM: no permission"),
        ("nvmlDeviceGetSamples", NOT_SUPPORTED, ("utilization_ring",), "Not Supported"),
    ],
)
def test_a_refused_metric_costs_no_other(
    nvml: Install, refused: str | int, code: int, metrics: tuple[str, ...], reason: str
) -> None:
    everything = set(values((nvml(), opened())[1]))
    fake = nvml()
    fake.refuse[refused] = code
    source = opened()
    found = values(source)
    assert set(source.unavailable) == set(metrics)
    assert all(reason in why for why in source.unavailable.values())
    assert everything - set(found) <= set(metrics)
    fake.calls.clear()
    values(source, at=1.0)
    assert refused not in fake.calls  # asked once, and not again
    if metrics == ("power_w",):
        assert values(source, at=2.0)["power_average_w"] == 612.0


def test_an_older_driver_lacks_symbols(nvml: Install) -> None:
    fake = nvml()
    fake.missing = {ENERGY, "nvmlGpmQueryDeviceSupport", "nvmlDeviceGetCurrentClocksEventReasons"}
    source = opened()
    found = values(source)
    assert source.unavailable["energy_j"] == "this driver is too old to have it"
    assert set(source.unavailable) == {"energy_j", *GPM_METRICS}
    assert found["throttle"] == 0x24  # under its older name


def test_an_older_package_lacks_functions(nvml: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml()
    monkeypatch.delattr(pynvml, "nvmlGpmQueryDeviceSupport")
    monkeypatch.delattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption")
    source = opened()
    values(source)
    assert source.unavailable["energy_j"].startswith("the installed nvidia-ml-py has no nvmlDeviceGetTotalEnergy")
    assert set(source.unavailable) == {"energy_j", *GPM_METRICS}


def test_a_passing_error_is_forgiven_and_a_lasting_one_is_not(nvml: Install) -> None:
    fake = nvml()
    source = opened()
    fake.refuse[ENERGY] = pynvml.NVML_ERROR_UNKNOWN
    for t in range(4):
        assert "energy_j" not in source.read(t).values
    del fake.refuse[ENERGY]
    assert "energy_j" in source.read(4).values
    assert source.unavailable == {}
    fake.refuse[ENERGY] = pynvml.NVML_ERROR_UNKNOWN
    for t in range(5, 10):
        source.read(t)
    assert source.unavailable == {"energy_j": "Unknown Error"}


@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED])
def test_a_lost_gpu_ends_the_source(nvml: Install, code: int) -> None:
    fake = nvml()
    source = opened()
    source.read(0.0)
    fake.refuse["nvmlDeviceGetClockInfo"] = code
    with pytest.raises(SourceLostError, match="NVIDIA H200, GPU-aaaa-1: GPU"):
        source.read(0.1)
    with pytest.raises(SourceLostError):
        source.clocks()
    fake.refuse["nvmlShutdown"] = fake.refuse["nvmlGpmSampleFree"] = code
    source.close()


# Which GPU


@pytest.mark.parametrize(
    ("gpu", "visible", "expected"),
    [
        (None, None, "GPU-aaaa-1"),
        (None, "1,0", "GPU-bbbb-2"),
        (None, "GPU-bbbb-2,GPU-aaaa-1", "GPU-bbbb-2"),
        (None, "GPU-bb", "GPU-bbbb-2"),
        ("1", "0", "GPU-bbbb-2"),
        ("GPU-aaaa-1", "1", "GPU-aaaa-1"),
    ],
)
def test_the_gpu_meant_is_found(nvml: Install, gpu: str | None, visible: str | None, expected: str) -> None:
    nvml()
    source = opened(gpu, **({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}))
    assert source.describe()["uuid"] == expected


@pytest.mark.parametrize(
    ("gpu", "visible", "message"),
    [
        (None, "", "hides every GPU"),
        (None, "-1", "hides every GPU"),
        ("2", None, "index below 2"),
        ("H200", None, "an index or a UUID"),
        ("GPU-cccc", None, "one of GPU-aaaa-1, GPU-bbbb-2, got GPU-cccc which fits none"),
        ("GPU-", None, "fits several"),
    ],
)
def test_a_gpu_that_is_none_is_named(nvml: Install, gpu: str | None, visible: str | None, message: str) -> None:
    nvml()
    with pytest.raises(UnavailableError, match=message):
        opened(gpu, **({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}))


def test_cudas_index_means_nothing_among_different_gpus(nvml: Install) -> None:
    fake = nvml()
    fake.names[1] = "NVIDIA T4"
    with pytest.raises(UnavailableError, match="CUDA_DEVICE_ORDER=PCI_BUS_ID"):
        opened(CUDA_VISIBLE_DEVICES="1")
    source = opened(CUDA_VISIBLE_DEVICES="1", CUDA_DEVICE_ORDER="PCI_BUS_ID")
    assert source.describe()["name"] == "NVIDIA T4"


@pytest.mark.parametrize("gpu", ["MIG-cccc-3", "GPU-cccc-3"])  # the second is how torch names an instance
def test_a_mig_instance_has_no_power_and_no_utilization_of_its_own(nvml: Install, gpu: str) -> None:
    fake = nvml(mig="MIG-cccc-3")
    source = opened(gpu)
    fake.asked.clear()
    found = values(source)
    assert source.describe()["mig"]
    assert {"sm", "tensor", "sm_mhz", "memory_bytes"} <= set(found)
    assert not {"power_w", "power_average_w", "energy_j", "utilization"} & set(found)
    assert "whole GPU" in source.unavailable["energy_j"]
    assert source.unavailable["utilization"] == "Not Supported"
    assert 0 in fake.asked  # the clocks are those of the board


# Without a driver, and for the doctor


def test_without_a_driver_the_reason_is_said(nvml: Install) -> None:
    fake = nvml()
    fake.refuse["nvmlInitWithFlags"] = pynvml.NVML_ERROR_DRIVER_NOT_LOADED
    with pytest.raises(UnavailableError, match="Driver Not Loaded"):
        opened()
    found = probe_nvml(NvmlSource(environment={}))
    assert not found.works
    assert "install the NVIDIA driver" in found.remedy


def test_the_doctor_says_what_there_is(nvml: Install) -> None:
    fake = nvml()
    whole = probe_nvml(NvmlSource(environment={}))
    assert whole.works
    assert "driver 580.65.06, NVIDIA H200, 16 metrics" in whole.detail
    assert "through GPM" in whole.detail
    assert whole.remedy == ""
    fake.refuse["nvmlGpmSampleGet"] = NO_PERMISSION
    partly = probe_nvml(NvmlSource(environment={}))
    assert partly.works
    assert "no permission" in partly.detail
    assert "administrator" in partly.remedy


# Nothing is changed


def test_no_setting_is_ever_changed(nvml: Install) -> None:
    changing = re.compile(r"nvml\w*(Set|Reset|Clear|Restore|Enable|Disable|Freeze|Modify|Remove|Create|Destroy)[A-Z_]?")
    paths = sorted(Path(mohge.bench.telemetry.__file__).parent.glob("*.py"))
    names = {
        node.attr if isinstance(node, ast.Attribute) else str(node.value)
        for path in paths
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) or (isinstance(node, ast.Constant) and isinstance(node.value, str))
    }
    assert {"nvmlGpmSampleGet", "nvmlDeviceGetClockInfo"} <= names
    assert not [name for name in names if changing.search(name)]
    fake = nvml()
    source = opened()
    values(source)
    source.close()
    assert len(fake.calls) > 20
    assert not [name for name in fake.calls if changing.search(name)]
    assert changing.search("nvmlDeviceSetPowerManagementLimit")
    assert changing.search("nvmlDeviceResetGpuLockedClocks")


@pytest.mark.gpu
def test_a_real_gpu_answers() -> None:
    source = NvmlSource()
    source.open()
    try:
        now = time.monotonic()
        source.read(now)
        time.sleep(0.15)
        reading = source.read(time.monotonic())
    finally:
        source.close()
    assert reading.values["sm_mhz"] > 0
    assert reading.values["memory_bytes"] > 0
    assert {*reading.values, *source.unavailable, "utilization_ring", "power_average_w"} >= set(METRICS)
