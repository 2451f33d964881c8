"""Which GPU is meant, by UUID: indices mean different GPUs to CUDA and to NVML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .source import UnavailableError


def torch_uuid(device: Any) -> str | None:
    """The UUID of a torch device "cuda" or "cuda:N" as NVML writes it; None where torch has none to give."""
    import torch

    if not torch.cuda.is_available():
        return None
    uuid = getattr(torch.cuda.get_device_properties(torch.device(device)), "uuid", None)
    return None if uuid is None else f"GPU-{uuid}"


def visible_gpu(environment: Mapping[str, str]) -> str | None:
    """The first entry of CUDA_VISIBLE_DEVICES, an index or a UUID; None when it is not set.

    Raises UnavailableError when it hides every GPU.
    """
    text = environment.get("CUDA_VISIBLE_DEVICES")
    if text is None:
        return None
    first = text.split(",")[0].strip()
    if first in ("", "-1", "NoDevFiles"):
        raise UnavailableError(f"CUDA_VISIBLE_DEVICES={text!r} hides every GPU")
    return first


def find_device(nvml: Any, wanted: str | None, environment: Mapping[str, str]) -> Any:
    """The handle of the GPU `wanted`: NVML's index (that of nvidia-smi), a UUID or the beginning of one.

    Without it, the GPU a CUDA program with this environment would call its first. nvml is the pynvml module, after
    nvmlInit. Raises UnavailableError; NVMLError of anything but "no such device" passes through.
    """
    entry = wanted if wanted is not None else visible_gpu(environment)
    count = int(nvml.nvmlDeviceGetCount())
    if not count:
        raise UnavailableError("the driver sees no GPU")
    if entry is None or entry.isdigit():
        index = int(entry or 0)
        if index >= count:
            raise UnavailableError(f"GPU: expected an index below {count} or a UUID, got {entry}")
        if wanted is None:
            _check_order(nvml, count, environment)
        return nvml.nvmlDeviceGetHandleByIndex(index)
    if not entry.upper().startswith(("GPU-", "MIG-")):
        raise UnavailableError(f"GPU: expected an index or a UUID (GPU-... or MIG-...), got {entry!r}")
    return _by_uuid(nvml, entry, count)


def _check_order(nvml: Any, count: int, environment: Mapping[str, str]) -> None:
    """CUDA counts the fastest GPU first unless told otherwise: its index says nothing where GPUs differ."""
    names = {text(nvml.nvmlDeviceGetName(nvml.nvmlDeviceGetHandleByIndex(index))) for index in range(count)}
    if len(names) > 1 and environment.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
        raise UnavailableError(
            f"GPU: CUDA's order of {', '.join(sorted(names))} is not known; name one by UUID, or set "
            "CUDA_DEVICE_ORDER=PCI_BUS_ID"
        )


def _by_uuid(nvml: Any, entry: str, count: int) -> Any:
    # torch gives a MIG instance's UUID without saying that it is one.
    for name in dict.fromkeys((entry, "MIG-" + entry[4:])):
        try:
            return nvml.nvmlDeviceGetHandleByUUID(name)
        except nvml.NVMLError as error:
            if error.value not in (nvml.NVML_ERROR_NOT_FOUND, nvml.NVML_ERROR_INVALID_ARGUMENT):
                raise
    handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
    uuids = [text(nvml.nvmlDeviceGetUUID(handle)) for handle in handles]
    matching = [place for place, uuid in enumerate(uuids) if uuid.lower().startswith(entry.lower())]
    if len(matching) != 1:
        found = "none" if not matching else "several"
        raise UnavailableError(f"GPU: expected the UUID of one of {', '.join(uuids)}, got {entry} which fits {found}")
    return handles[matching[0]]


def text(value: str | bytes) -> str:
    """NVML's strings, which older versions of the package give as bytes."""
    return value.decode() if isinstance(value, bytes) else value
