"""A scripted NVML under the real pynvml, a source with faults, and a short synthetic trace."""

# ruff: noqa: N802, N815  (functions are named as NVML names them)

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pynvml
import pytest

from mohge.bench.telemetry import Reading, RecordedSource, SourceLostError, UnavailableError
from mohge.bench.telemetry.synthetic import Stretch, write_synthetic

GIB = 2**30


class FakeNvml:
    """The driver's library as pynvml calls it: C functions that return an error code and write through pointers.

    refuse:  error code by function name (or by a field's or GPM metric's number)
    missing: symbols this driver does not have
    """

    def __init__(self, uuids: tuple[str, ...] = ("GPU-aaaa-1", "GPU-bbbb-2"), mig: str | None = None) -> None:
        self.uuids = [*uuids, *([mig] if mig else [])]
        self.visible, self.mig = len(uuids), mig
        self.names = ["NVIDIA H200"] * len(self.uuids)
        self._devices = [pynvml.struct_c_nvmlDevice_t() for _ in self.uuids]
        self._by_address = {ctypes.addressof(device): place for place, device in enumerate(self._devices)}
        self.refuse: dict[str | int, int] = {}
        self.missing: set[str] = set()
        self.calls: list[str] = []
        self.asked: list[int] = []  # which device each question was about
        self.energy_mj, self.busy, self.now_us = 5_000_000, True, int(time.time() * 1e6)
        self.ring = [(self.now_us - 40_000, 100), (self.now_us - 20_000, 50)]
        self.gpm_percent = {pynvml.NVML_GPM_METRIC_SM_UTIL: 91.0, pynvml.NVML_GPM_METRIC_ANY_TENSOR_UTIL: 55.0}
        self.gpm_taken = 0
        self.freed = 0

    def __getattr__(self, name: str) -> Callable[..., int]:
        if not name.startswith("nvml") or name in self.missing:
            raise AttributeError(name)
        answer = getattr(type(self), f"_{name}", None)
        if answer is None:
            raise AttributeError(name)

        def call(*arguments: Any) -> int:
            self.calls.append(name)
            if name in self.refuse:
                return self.refuse[name]
            return answer(self, *arguments) or pynvml.NVML_SUCCESS

        return call

    def _place(self, handle: Any) -> int:
        place = self._by_address[ctypes.addressof(handle.contents)]
        self.asked.append(place)
        return place

    def _point(self, pointer: Any, place: int) -> None:
        pointer._obj.contents = self._devices[place]

    def _nvmlInitWithFlags(self, flags: int) -> None: ...

    def _nvmlShutdown(self) -> None: ...

    def _nvmlSystemGetDriverVersion(self, text: Any, length: Any) -> None:
        text.value = b"580.65.06"

    def _nvmlDeviceGetCount_v2(self, count: Any) -> None:
        count._obj.value = self.visible

    def _nvmlDeviceGetHandleByIndex_v2(self, index: Any, device: Any) -> None:
        self._point(device, index.value)

    def _nvmlDeviceGetHandleByUUID(self, uuid: Any, device: Any) -> int | None:
        if uuid.value.decode() not in self.uuids:
            return pynvml.NVML_ERROR_NOT_FOUND
        self._point(device, self.uuids.index(uuid.value.decode()))
        return None

    def _nvmlDeviceGetName(self, handle: Any, text: Any, length: Any) -> None:
        text.value = self.names[self._place(handle)].encode()

    def _nvmlDeviceGetUUID(self, handle: Any, text: Any, length: Any) -> None:
        text.value = self.uuids[self._place(handle)].encode()

    def _nvmlDeviceIsMigDeviceHandle(self, handle: Any, answer: Any) -> None:
        answer._obj.value = self.uuids[self._place(handle)] == self.mig

    def _nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, handle: Any, device: Any) -> None:
        self._point(device, 0)

    def _nvmlDeviceGetGpuInstanceId(self, handle: Any, number: Any) -> None:
        number._obj.value = 7

    def _nvmlDeviceGetUtilizationRates(self, handle: Any, rates: Any) -> int | None:
        if self.uuids[self._place(handle)] == self.mig:
            return pynvml.NVML_ERROR_NOT_SUPPORTED
        rates._obj.gpu, rates._obj.memory = 97, 41
        return None

    def _nvmlDeviceGetFieldValues(self, handle: Any, count: Any, values: Any) -> None:
        (value,) = values._obj
        value.nvmlReturn = self.refuse.get(value.fieldId, pynvml.NVML_SUCCESS)
        value.valueType = pynvml.NVML_VALUE_TYPE_UNSIGNED_INT
        value.value.uiVal = 645_500

    def _nvmlDeviceGetPowerUsage(self, handle: Any, watts: Any) -> None:
        watts._obj.value = 612_000

    def _nvmlDeviceGetTotalEnergyConsumption(self, handle: Any, joules: Any) -> None:
        self.energy_mj += 60_000
        joules._obj.value = self.energy_mj

    def _nvmlDeviceGetClockInfo(self, handle: Any, kind: Any, clock: Any) -> None:
        self._place(handle)
        clock._obj.value = {pynvml.NVML_CLOCK_SM: 1980, pynvml.NVML_CLOCK_MEM: 3201}[kind.value]

    def _nvmlDeviceGetCurrentClocksEventReasons(self, handle: Any, reasons: Any) -> None:
        reasons._obj.value = 0x4 | 0x20

    _nvmlDeviceGetCurrentClocksThrottleReasons = _nvmlDeviceGetCurrentClocksEventReasons

    def _nvmlDeviceGetTemperature(self, handle: Any, sensor: Any, celsius: Any) -> None:
        celsius._obj.value = 63

    def _nvmlDeviceGetMemoryInfo(self, handle: Any, memory: Any) -> None:
        memory._obj.used = 9 * GIB

    def _nvmlDeviceGetSamples(
        self, handle: Any, kind: Any, since: Any, value_type: Any, count: Any, samples: Any
    ) -> int | None:
        fresh = [entry for entry in self.ring if entry[0] > since.value]
        if not self.busy or not fresh:
            return pynvml.NVML_ERROR_NOT_FOUND
        value_type._obj.value, count._obj.value = pynvml.NVML_VALUE_TYPE_UNSIGNED_INT, len(fresh)
        for sample, (stamp, percent) in zip(samples or (), fresh, strict=False):
            sample.timeStamp, sample.sampleValue.uiVal = stamp, percent
        return None

    def _nvmlGpmQueryDeviceSupport(self, handle: Any, support: Any) -> int | None:
        if support._obj.version != pynvml.NVML_GPM_SUPPORT_VERSION:
            return pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH
        support._obj.isSupportedDevice = 1
        return None

    def _nvmlGpmSampleAlloc(self, sample: Any) -> None: ...

    def _nvmlGpmSampleFree(self, sample: Any) -> None:
        self.freed += 1

    def _nvmlGpmSampleGet(self, handle: Any, sample: Any) -> None:
        self.gpm_taken += 1

    def _nvmlGpmMigSampleGet(self, handle: Any, instance: int, sample: Any) -> None:
        assert (self._place(handle), instance) == (0, 7)
        self.gpm_taken += 1

    def _nvmlGpmMetricsGet(self, request: Any) -> int | None:
        if request._obj.version != pynvml.NVML_GPM_METRICS_GET_VERSION:
            return pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH
        for metric in request._obj.metrics[: request._obj.numMetrics]:
            metric.nvmlReturn = self.refuse.get(metric.metricId, pynvml.NVML_SUCCESS)
            metric.value = self.gpm_percent.get(metric.metricId, 10.0)
        return None


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeNvml]:
    """Installs a FakeNvml, made with the given arguments, under pynvml."""

    def install(**options: Any) -> FakeNvml:
        fake = FakeNvml(**options)
        monkeypatch.setattr(pynvml, "nvmlLib", fake)
        monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
        return fake

    return install


class FaultySource:
    """A recording with faults, by the number of the reading they begin at.

    denied:   why it cannot be opened
    lost:     the device goes away
    backward: the energy counter goes back by 1 MJ
    jump:     the SM clock falls to a quarter
    refused:  (number, metric): from there on the metric is not supported
    """

    def __init__(
        self,
        source: RecordedSource,
        *,
        denied: str | None = None,
        lost: int | None = None,
        backward: int | None = None,
        jump: int | None = None,
        refused: tuple[int, str] | None = None,
    ) -> None:
        self._source, self._denied, self._refused = source, denied, refused
        self._lost, self._backward, self._jump = lost, backward, jump
        self._count = 0
        self.kind, self.unavailable = "recorded", source.unavailable
        self.describe, self.clocks, self.close = source.describe, source.clocks, source.close

    def open(self) -> None:
        if self._denied:
            raise UnavailableError(self._denied)
        self._source.open()
        self.kind, self.unavailable = self._source.kind, self._source.unavailable

    def read(self, now: float) -> Reading:
        self._count += 1
        if self._lost is not None and self._count > self._lost:
            raise SourceLostError("GPU is lost")
        if self._refused and self._count > self._refused[0]:
            self.unavailable.setdefault(self._refused[1], "Not Supported")
        reading = self._source.read(now)
        return replace(self._faulty(reading), earlier=tuple(self._faulty(each) for each in reading.earlier))

    def _faulty(self, reading: Reading) -> Reading:
        values = dict(reading.values)
        if self._backward is not None and self._count > self._backward and values:
            values["energy_j"] -= 1e6
        if self._jump is not None and self._count > self._jump and values:
            values["sm_mhz"] /= 4
        return Reading(reading.t, {name: value for name, value in values.items() if name not in self.unavailable})


@pytest.fixture
def faulty() -> type[FaultySource]:
    return FaultySource


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds of one lane at full load."""
    stretch = Stretch("triton", "layer", 4.0, 0.9, 0.6, 0.4, 0.8)
    return write_synthetic(tmp_path_factory.mktemp("synthetic") / "trace.jsonl", [stretch])
