"""CUDA C++ to cubins with NVRTC. Needs the compiler's library and the CUDA headers, but neither GPU nor driver."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..cache import cache_folder, cached, content_key

FOLDER = Path(__file__).resolve().parent
_WHEEL_FOLDERS = ("cu13/include", "cuda_runtime/include")  # one toolkit folder from CUDA 13 on, one per library before
_REMEDY = 'pip install "cuda-bindings>=13,<14" "cuda-toolkit[nvrtc,cudart,cccl,crt]==13.0.*"'


def compile_cubin(source_file: Path, defines: Mapping[str, int | str], architecture: str) -> Path:
    """The cubin of a .cu file for `architecture` ("sm_90a"), from the cache or compiled now.

    `defines` become `-DNAME=VALUE`. Sources find wrappers.cuh in angle brackets and their own folder's headers in
    quotes. Raises ValueError with the compiler's log when the source does not compile, and with the remedy when the
    compiler or the CUDA headers are missing.
    """
    source_file = Path(source_file)
    name = cubin_name(source_file, defines, architecture)
    includes = [f"-I{folder}" for folder in (FOLDER, source_file.resolve().parent, *header_folders())]
    return cached(name, lambda: _compile(source_file, [*_options(defines, architecture), *includes]))


def cubin_name(source_file: Path, defines: Mapping[str, int | str], architecture: str) -> str:
    """What the cache calls the cubin of `compile_cubin`, by everything it is made from.

    Raises ValueError with the remedy when the compiler or the CUDA headers are missing.
    """
    reason = cannot_compile()
    if reason is not None:
        raise ValueError(reason)
    headers = sorted({*FOLDER.glob("*.cuh"), *source_file.parent.glob("*.cuh")})
    version = ".".join(map(str, _nvrtc_version()))
    contents = [source_file.read_bytes(), *(file.read_bytes() for file in headers)]
    options = _options(defines, architecture)
    key = content_key([version, *options, *(file.name for file in headers), *contents])
    return f"{source_file.stem}-{key}.cubin"


def _options(defines: Mapping[str, int | str], architecture: str) -> list[str]:
    options = [f"--gpu-architecture={architecture}", "--std=c++17", "--generate-line-info"]
    return options + [f"-D{name}={value}" for name, value in sorted(defines.items())]


@dataclass(frozen=True)
class CubinCompilation:
    """The cubin of a .cu file as a `Compilation`; see `compile_cubin` for the fields."""

    source_file: Path
    defines: Mapping[str, int | str]
    architecture: str

    @property
    def name(self) -> str:
        """See `Compilation`."""
        return self.source_file.name

    @property
    def key(self) -> str:
        """See `Compilation`: the name of its file in the cache."""
        return cubin_name(self.source_file, self.defines, self.architecture)

    def kept(self) -> bool:
        """See `Compilation`."""
        return (cache_folder() / self.key).exists()

    def make(self) -> None:
        """See `Compilation`."""
        compile_cubin(self.source_file, self.defines, self.architecture)


def cannot_compile() -> str | None:
    """None, or why nothing can be compiled in this environment, with the remedy, in one line."""
    if importlib.util.find_spec("cuda") is None or importlib.util.find_spec("cuda.bindings") is None:
        return f"cuda-bindings is not installed: {_REMEDY}"
    try:
        _nvrtc_version()
    except Exception as error:  # whatever a library that is absent or broken raises on its first call
        return f"the CUDA compiler library NVRTC cannot be loaded ({type(error).__name__}): {_REMEDY}"
    if not header_folders():
        return f"cuda_fp16.h was found neither in NVIDIA's wheels nor under CUDA_PATH or /usr/local/cuda: {_REMEDY}"
    return None


def header_folders() -> list[Path]:
    """The folders to pass as -I for the CUDA headers; empty when there are none."""
    for folder in _header_candidates():
        if (folder / "cuda_fp16.h").is_file():
            return [folder, *(inner for inner in (folder / "cccl",) if inner.is_dir())]
    return []


def device_architecture(device: int) -> str:
    """The compile target of a GPU torch sees: "sm_90a" on Hopper, whose wgmma and TMA need the `a`."""
    import torch

    major, minor = torch.cuda.get_device_capability(device)
    return f"sm_{major}{minor}{'a' if major >= 9 else ''}"


def _header_candidates() -> Iterator[Path]:
    nvidia = importlib.util.find_spec("nvidia")
    for location in (nvidia.submodule_search_locations or []) if nvidia is not None else []:
        for inside in _WHEEL_FOLDERS:
            yield Path(location) / inside
    for variable in ("CUDA_PATH", "CUDA_HOME"):
        if os.environ.get(variable):
            yield Path(os.environ[variable]) / "include"
    yield Path("/usr/local/cuda/include")


def _nvrtc_version() -> tuple[int, int]:
    from cuda.bindings import nvrtc  # pyright: ignore[reportAttributeAccessIssue]

    major, minor = _checked(nvrtc.nvrtcVersion())
    return major, minor


def _compile(source_file: Path, options: list[str]) -> bytes:
    from cuda.bindings import nvrtc  # pyright: ignore[reportAttributeAccessIssue]

    name = str(source_file).encode()
    (program,) = _checked(nvrtc.nvrtcCreateProgram(source_file.read_bytes(), name, 0, None, None))
    try:
        encoded = [option.encode() for option in options]
        (result,) = nvrtc.nvrtcCompileProgram(program, len(encoded), encoded)
        if result != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            (size,) = _checked(nvrtc.nvrtcGetProgramLogSize(program))
            log = bytearray(size)
            _checked(nvrtc.nvrtcGetProgramLog(program, log))
            raise ValueError(f"{source_file} does not compile with {' '.join(options)}:\n{log.decode().rstrip(chr(0))}")
        (size,) = _checked(nvrtc.nvrtcGetCUBINSize(program))
        cubin = bytearray(size)
        _checked(nvrtc.nvrtcGetCUBIN(program, cubin))
        return bytes(cubin)
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def _checked(answer: tuple[Any, ...]) -> tuple[Any, ...]:
    """What an NVRTC call returned after its status. Raises RuntimeError for a status that is not success."""
    status, *values = answer
    if int(status) != 0:
        raise RuntimeError(f"NVRTC failed: {status.name}")
    return tuple(values)
