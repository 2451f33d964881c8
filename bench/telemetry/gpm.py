"""GPM, the performance counters of Hopper and later GPUs: shares of the SMs, tensor pipe and memory in use."""

from __future__ import annotations

from typing import Any

# The pair of samples a value is made from lies at least this far apart: NVIDIA asks for it.
INTERVAL_S = 0.1
# Our metric, and the name of NVML's in the pynvml module. All are in percent.
GPM_METRICS = {
    "sm": "NVML_GPM_METRIC_SM_UTIL",
    "occupancy": "NVML_GPM_METRIC_SM_OCCUPANCY",
    "tensor": "NVML_GPM_METRIC_ANY_TENSOR_UTIL",
    "hmma": "NVML_GPM_METRIC_HMMA_TENSOR_UTIL",
    "fp32": "NVML_GPM_METRIC_FP32_UTIL",
    "dram": "NVML_GPM_METRIC_DRAM_BW_UTIL",
}


class Gpm:
    """Two samples taken in turn; a value is of the time between them. `instance` is the MIG GPU instance, if any."""

    def __init__(self, nvml: Any, device: Any, instance: int | None = None) -> None:
        """Raises NVMLError where the device, the driver or the user may not; AttributeError for an old package."""
        self._nvml, self._device, self._instance = nvml, device, instance
        if not nvml.nvmlGpmQueryDeviceSupport(device).isSupportedDevice:
            raise nvml.NVMLError(nvml.NVML_ERROR_NOT_SUPPORTED)
        self._ids = {getattr(nvml, constant): name for name, constant in GPM_METRICS.items()}
        self._samples: list[Any] = []
        try:
            for _ in range(2):
                self._samples.append(nvml.nvmlGpmSampleAlloc())
            self._take(self._samples[0])
        except nvml.NVMLError:
            self.close()
            raise
        self._since: float | None = None  # when the older sample was taken; None: at some time before the first read

    def read(self, now: float) -> tuple[dict[str, float], dict[str, int]]:
        """Shares by metric over the time since the last pair, and NVML's error codes of those it could not give.

        Both are empty when too little time has passed. Raises NVMLError.
        """
        if self._since is None:
            # The sample from the opening may be old; values start with the next pair.
            self._take(self._samples[0])
            self._since = now
            return {}, {}
        if now - self._since < INTERVAL_S:
            return {}, {}
        self._take(self._samples[1])
        self._since = now
        request = self._nvml.c_nvmlGpmMetricsGet_t()
        request.version = self._nvml.NVML_GPM_METRICS_GET_VERSION
        request.numMetrics = len(self._ids)
        request.sample1, request.sample2 = self._samples
        for place, number in enumerate(self._ids):
            request.metrics[place].metricId = number
        try:
            self._nvml.nvmlGpmMetricsGet(request)
        finally:
            self._samples.reverse()
        values, errors = {}, {}
        for place in range(len(self._ids)):
            metric = request.metrics[place]
            name = self._ids[metric.metricId]
            if metric.nvmlReturn == self._nvml.NVML_SUCCESS:
                values[name] = float(metric.value) / 100
            else:
                errors[name] = int(metric.nvmlReturn)
        return values, errors

    def close(self) -> None:
        """Free the samples."""
        while self._samples:
            self._nvml.nvmlGpmSampleFree(self._samples.pop())

    def _take(self, sample: Any) -> None:
        if self._instance is None:
            self._nvml.nvmlGpmSampleGet(self._device, sample)
        else:
            self._nvml.nvmlGpmMigSampleGet(self._device, self._instance, sample)
