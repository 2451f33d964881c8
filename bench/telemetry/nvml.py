"""Live readings of one GPU from NVML. Only ever asks: nothing here changes a setting or resets a counter."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from .gpm import GPM_METRICS, Gpm
from .nvml_device import find_device, text
from .ring import METRIC as RING
from .ring import Ring, union_value
from .source import ClockReading, Reading, SourceLostError, UnavailableError, throttle_names

# Errors after which asking again is of no use, by their names in pynvml; others may pass.
_REFUSALS = (
    "NOT_SUPPORTED",
    "NO_PERMISSION",
    "FUNCTION_NOT_FOUND",
    "INVALID_ARGUMENT",
    "ARGUMENT_VERSION_MISMATCH",
    "DEPRECATED",
)
_LOSSES = ("GPU_IS_LOST", "RESET_REQUIRED", "GPU_NOT_FOUND", "DRIVER_NOT_LOADED", "UNINITIALIZED")
_PATIENCE = 5  # a metric that fails this often in a row for a passing reason is given up
_WHOLE_GPU = "MIG: NVML counts it for the whole GPU, not for this instance"
Values = dict[str, float]


class NvmlSource:
    """One GPU, or one MIG instance, through nvidia-ml-py, which is imported when the source is opened.

    gpu: NVML's index, a UUID or the beginning of one; None: what CUDA_VISIBLE_DEVICES calls the first
    Every metric is asked on its own, so that one that is refused costs no other.
    """

    kind = "nvml"

    def __init__(self, gpu: str | None = None, environment: Mapping[str, str] = os.environ) -> None:
        self._gpu, self._environment = gpu, environment
        self.unavailable: dict[str, str] = {}
        self._failures: dict[str, int] = {}
        self._nvml: Any = None
        self._gpm: Gpm | None = None

    def open(self) -> None:
        """Load NVML, find the GPU and see what it gives. Raises UnavailableError."""
        try:
            import pynvml
        except ImportError as error:
            raise UnavailableError("nvidia-ml-py is not installed (pip install nvidia-ml-py)") from error
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            raise UnavailableError(f"NVML: {error} (is the NVIDIA driver installed and loaded?)") from error
        self._nvml = pynvml
        try:
            self._find()
        except pynvml.NVMLError as error:
            self.close()
            raise UnavailableError(f"NVML: {error}") from error
        except UnavailableError:
            self.close()
            raise
        self._ring = Ring(pynvml, self._handle)
        self._open_gpm()

    def _find(self) -> None:
        nvml = self._nvml
        self._handle = self._board = find_device(nvml, self._gpu, self._environment)
        self._instance: int | None = None
        try:
            mig = bool(getattr(found := nvml.nvmlDeviceIsMigDeviceHandle(self._handle), "value", found))
        except nvml.NVMLError:
            mig = False
        if mig:  # clocks and temperature are those of the board
            self._board = nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self._handle)
            self._instance = int(nvml.nvmlDeviceGetGpuInstanceId(self._handle))
            self.unavailable |= dict.fromkeys(("power_w", "power_average_w", "energy_j"), _WHOLE_GPU)
        self._device = {
            "name": text(nvml.nvmlDeviceGetName(self._handle)),
            "uuid": text(nvml.nvmlDeviceGetUUID(self._handle)),
            "driver": text(nvml.nvmlSystemGetDriverVersion()),
            "mig": mig,
        }

    def _open_gpm(self) -> None:
        try:
            self._gpm = Gpm(self._nvml, self._board, self._instance)
        except (self._nvml.NVMLError, AttributeError) as error:
            self.unavailable |= dict.fromkeys(GPM_METRICS, f"GPM: {self._words(error)}")

    def describe(self) -> dict[str, Any]:
        """name, uuid, driver, and whether it is a MIG instance."""
        return dict(self._device)

    def read(self, now: float) -> Reading:
        """Everything the GPU gives at `now`, seconds on the monotonic clock. Raises SourceLostError."""
        values: Values = {}
        for names, ask in self._questions():
            if not all(name in self.unavailable for name in names):
                values |= self._asked(names, ask)
        values |= self._asked(tuple(GPM_METRICS), lambda: self._read_gpm(now)) if self._gpm else {}
        return Reading(now, values, self._read_ring(now))

    def clocks(self) -> ClockReading | None:
        """SM and memory clock and what holds them back: three short queries. Raises SourceLostError."""
        values: Values = {}
        for names, ask in self._clock_questions():
            if names[0] not in self.unavailable:
                values |= self._asked(names, ask)
        if not values:
            return None
        return ClockReading(values.get("sm_mhz"), values.get("memory_mhz"), throttle_names(values.get("throttle", 0)))

    def close(self) -> None:
        """Free what GPM took, and let go of NVML."""
        if self._nvml is None:
            return
        nvml, self._nvml = self._nvml, None
        try:
            if self._gpm is not None:
                self._gpm.close()
            nvml.nvmlShutdown()
        except nvml.NVMLError:  # a lost GPU cannot be let go of properly
            pass
        self._gpm = None

    def _questions(self) -> list[tuple[tuple[str, ...], Callable[[], Values]]]:
        """What can be asked, each with the metrics it answers, in their units."""
        nvml, handle, board = self._nvml, self._handle, self._board
        average = [] if "power_w" not in self.unavailable else [
            (("power_average_w",), lambda: {"power_average_w": nvml.nvmlDeviceGetPowerUsage(handle) / 1e3}),
        ]  # fmt: skip
        return [
            (("utilization", "memory_utilization"), self._utilization),
            (("power_w",), lambda: {"power_w": self._field(nvml.NVML_FI_DEV_POWER_INSTANT) / 1e3}),
            *average,
            (("energy_j",), lambda: {"energy_j": nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3}),
            *self._clock_questions(),
            (("temperature_c",), lambda: {"temperature_c": self._temperature(board)}),
            (("memory_bytes",), lambda: {"memory_bytes": int(nvml.nvmlDeviceGetMemoryInfo(handle).used)}),
        ]

    def _clock_questions(self) -> list[tuple[tuple[str, ...], Callable[[], Values]]]:
        nvml, board = self._nvml, self._board
        return [
            (("sm_mhz",), lambda: {"sm_mhz": nvml.nvmlDeviceGetClockInfo(board, nvml.NVML_CLOCK_SM)}),
            (("memory_mhz",), lambda: {"memory_mhz": nvml.nvmlDeviceGetClockInfo(board, nvml.NVML_CLOCK_MEM)}),
            (("throttle",), lambda: {"throttle": self._throttle(board)}),
        ]

    def _asked(self, names: tuple[str, ...], ask: Callable[[], Values]) -> Values:
        """The answer; when refused, the metrics become unavailable with the reason. Raises SourceLostError."""
        try:
            values = ask()
        except self._nvml.NVMLError as error:
            self._failed(names, int(error.value), self._words(error))
            return {}
        except AttributeError as error:
            self._give_up(names, self._words(error))
            return {}
        for name in values:
            self._failures.pop(name, None)
        return {name: value for name, value in values.items() if name not in self.unavailable}

    def _failed(self, names: tuple[str, ...], code: int, words: str) -> None:
        if code in self._codes(_LOSSES):
            raise SourceLostError(f"{self._device['name']}, {self._device['uuid']}: {words}")
        for name in names:
            self._failures[name] = self._failures.get(name, 0) + 1
            if code in self._codes(_REFUSALS) or self._failures[name] >= _PATIENCE:
                self._give_up((name,), words)

    def _give_up(self, names: tuple[str, ...], words: str) -> None:
        for name in names:
            self.unavailable.setdefault(name, words)

    def _codes(self, names: tuple[str, ...]) -> set[int]:
        return {getattr(self._nvml, f"NVML_ERROR_{name}", -1) for name in names}

    def _words(self, error: Exception) -> str:
        if isinstance(error, AttributeError):
            return f"the installed nvidia-ml-py has no {getattr(error, 'name', None) or error}"
        code = getattr(error, "value", None)
        if code == self._nvml.NVML_ERROR_FUNCTION_NOT_FOUND:
            return "this driver is too old to have it"
        if code == self._nvml.NVML_ERROR_NO_PERMISSION:
            return "no permission (the administrator restricts performance counters or accounting to root)"
        return str(error)

    def _read_gpm(self, now: float) -> Values:
        assert self._gpm is not None
        values, errors = self._gpm.read(now)
        for name, code in errors.items():
            if name not in self.unavailable:
                self._failed((name,), code, self._words(self._nvml.NVMLError(code)))
        return values

    def _read_ring(self, now: float) -> tuple[Reading, ...]:
        found: list[Reading] = []

        def ask() -> Values:
            found.extend(self._ring.read(now))
            return {}

        if RING not in self.unavailable:
            try:
                self._asked((RING,), ask)
            except ValueError as error:
                self._give_up((RING,), str(error))
        return tuple(found)

    def _utilization(self) -> Values:
        rates = self._nvml.nvmlDeviceGetUtilizationRates(self._handle)
        return {"utilization": rates.gpu / 100, "memory_utilization": rates.memory / 100}

    def _field(self, number: int) -> float:
        (value,) = self._nvml.nvmlDeviceGetFieldValues(self._handle, [number])
        if value.nvmlReturn != self._nvml.NVML_SUCCESS:
            raise self._nvml.NVMLError(value.nvmlReturn)
        return union_value(value.valueType, value.value)

    def _temperature(self, device: Any) -> float:
        return float(self._nvml.nvmlDeviceGetTemperature(device, self._nvml.NVML_TEMPERATURE_GPU))

    def _throttle(self, device: Any) -> int:
        try:
            return int(self._nvml.nvmlDeviceGetCurrentClocksEventReasons(device))
        except (self._nvml.NVMLError_FunctionNotFound, AttributeError):  # its name up to driver 530
            return int(self._nvml.nvmlDeviceGetCurrentClocksThrottleReasons(device))
