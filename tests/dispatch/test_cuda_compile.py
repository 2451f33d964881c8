"""Every .cu file of dispatch/ compiled for Hopper without a GPU, and the machinery that does it."""

from __future__ import annotations

import importlib
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from mohge.dispatch import cache, cupy_backend
from mohge.dispatch.cache import cached, content_key
from mohge.dispatch.cuda import compiler, driver
from mohge.dispatch.cuda.compiler import cannot_compile, compile_cubin
from mohge.dispatch.cuda.engine import CupyEngine, Int64, TensorMap, pack_argument, padded_shape
from mohge.dispatch.cuda.resources import find_cuobjdump, inspect_cubin

FOLDER = cupy_backend.FOLDER
WRAPPERS = Path(__file__).parents[1] / "host_twin" / "kernels" / "wrappers.cu"
MOST_REGISTERS = 64  # of a thread: half of the threads a multiprocessor can hold stay resident


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOHGE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def compiler_present() -> None:
    if (reason := cannot_compile()) is not None:
        pytest.skip(reason)
    if find_cuobjdump() is None:
        pytest.skip("no cuobjdump to read a cubin with")


@pytest.mark.usefixtures("compiler_present")
@pytest.mark.parametrize(("source", "defines"), cupy_backend.VARIANTS, ids=lambda value: str(value))
def test_compiles_for_hopper_without_spills(source, defines):
    kernels = inspect_cubin(compile_cubin(FOLDER / source, defines, "sm_90a"))
    assert kernels
    for kernel in kernels.values():
        assert (kernel.local_bytes, kernel.spill_accesses) == (0, 0), kernel
        assert 0 < kernel.registers <= MOST_REGISTERS, kernel
        assert kernel.instructions > 10, kernel


def test_every_source_has_a_variant():
    assert {file.name for file in FOLDER.glob("*.cu")} == {source for source, _ in cupy_backend.VARIANTS}


@pytest.mark.usefixtures("compiler_present")
@pytest.mark.parametrize("element", ["__half", "__nv_bfloat16"])
def test_wrappers_reach_the_tensor_cores(element):
    kernels = inspect_cubin(compile_cubin(WRAPPERS, {"ELEMENT": element}, "sm_90a"))
    assert {name: kernel.hmma for name, kernel in kernels.items() if kernel.hmma} == {"matrix_product": 3}
    assert kernels["pipeline"].shared_bytes == 3 * 256 * 4 + 1024


@pytest.mark.usefixtures("compiler_present")
@pytest.mark.parametrize("element", ["__half", "__nv_bfloat16"])
def test_hopper_wrappers_reach_their_instructions(element):
    kernels = inspect_cubin(compile_cubin(WRAPPERS.with_name("hopper.cu"), {"ELEMENT": element}, "sm_90a"))
    assert kernels["late_lanes"].hgmma == 1
    products = {name: kernel for name, kernel in kernels.items() if kernel.hgmma and name != "late_lanes"}
    assert set(products) == {f"product_{n}" for n in (8, 16, 32, 64, 128, 256)}
    for kernel in products.values():
        assert kernel.hgmma % 8 == 0, kernel  # four steps along k, in two or four ways
        assert 2 * kernel.hgmma_waits <= kernel.hgmma, kernel
        assert kernel.spill_accesses == 0, kernel


@pytest.mark.usefixtures("compiler_present")
def test_a_spill_is_seen(tmp_path):
    source = tmp_path / "spill.cu"
    source.write_text(
        'extern "C" __global__ void spill(int* y, int at) { int local[64];\n'
        "for (int i = 0; i < 64; ++i) local[y[i] & 63] = i; y[at] = local[at]; }\n"
    )
    kernel = inspect_cubin(compile_cubin(source, {}, "sm_90a"))["spill"]
    assert kernel.local_bytes >= 256
    assert kernel.spill_accesses > 0


@pytest.mark.usefixtures("compiler_present")
def test_compile_error_shows_the_log(tmp_path):
    source = tmp_path / "wrong.cu"
    source.write_text("__global__ void wrong() { missing(); }\n")
    with pytest.raises(ValueError, match=r'identifier "missing" is undefined'):
        compile_cubin(source, {}, "sm_90a")


@pytest.mark.usefixtures("compiler_present")
def test_headers_defines_and_architecture_make_another_cubin(tmp_path):
    source, header = tmp_path / "k.cu", tmp_path / "h.cuh"
    source.write_text('#include "h.cuh"\nextern "C" __global__ void k(int* y) { *y = VALUE + HEADER; }\n')
    header.write_text("#define HEADER 1\n")
    first = compile_cubin(source, {"VALUE": 1}, "sm_90a")
    assert compile_cubin(source, {"VALUE": 1}, "sm_90a") == first
    others = [compile_cubin(source, {"VALUE": 2}, "sm_90a"), compile_cubin(source, {"VALUE": 1}, "sm_80")]
    header.write_text("#define HEADER 2\n")
    others.append(compile_cubin(source, {"VALUE": 1}, "sm_90a"))
    assert len({first, *others}) == 4


def test_missing_headers_are_explained(monkeypatch):
    monkeypatch.setattr(compiler, "header_folders", list)
    with pytest.raises(ValueError, match=r"cuda_fp16\.h was found neither .*pip install"):
        compile_cubin(FOLDER / "rows.cu", {}, "sm_90a")


def test_two_at_once_leave_one_whole_file():
    together = threading.Barrier(4)

    def make() -> bytes:
        together.wait(10)
        return b"content" * 1000

    paths: list[Path] = []
    threads = [threading.Thread(target=lambda: paths.append(cached("same.cubin", make))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(paths)) == 1
    assert paths[0].read_bytes() == b"content" * 1000
    assert not [file for file in paths[0].parent.iterdir() if file.name.startswith(".same")]


def test_cache_folder_that_cannot_be(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MOHGE_CACHE", str(tmp_path / "file" / "inside"))
    with pytest.raises(ValueError, match="set MOHGE_CACHE"):
        cache.cache_folder()


@pytest.mark.parametrize(
    ("own", "shared", "expected"),
    [("own", "shared", "own"), ("", "shared", "shared/mohge"), ("", "", "home/.cache/mohge")],
)
def test_cache_folder_follows_the_environment(monkeypatch, tmp_path, own, shared, expected):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name, folder in (("MOHGE_CACHE", own), ("XDG_CACHE_HOME", shared)):
        monkeypatch.setenv(name, str(tmp_path / folder) if folder else "")
    assert cache.cache_folder() == tmp_path / expected
    assert (tmp_path / expected).is_dir()


def test_key_tells_parts_apart():
    assert content_key(["ab", "c"]) != content_key(["a", "bc"])


def test_arguments_become_what_a_kernel_reads():
    tensor = torch.zeros(3, dtype=torch.bfloat16)
    packed = [pack_argument(value) for value in (tensor, 7, Int64(7), 0.5, True)]
    assert [type(value) for value in packed] == [np.uint64, np.int32, np.int64, np.float32, np.bool_]
    assert packed[0] == tensor.data_ptr()
    with pytest.raises(ValueError, match="int32"):
        pack_argument(2**31)
    with pytest.raises(ValueError, match="str"):
        pack_argument("text")
    assert padded_shape((3, 2)) == (3, 2, 1)
    with pytest.raises(ValueError, match="1 to 3"):
        padded_shape(())


@pytest.mark.usefixtures("compiler_present")
@pytest.mark.parametrize("early", [False, True])
def test_what_a_launch_through_the_driver_is_told(early):
    config = driver.launch_configuration((3, 2, 1), (384, 1, 1), 1000, 7, early)
    assert (config.gridDimX, config.gridDimY, config.blockDimX, config.sharedMemBytes) == (3, 2, 384, 1000)
    assert (int(config.hStream), config.numAttrs) == (7, int(early))
    if early:
        (attribute,) = config.attrs
        assert attribute.id.name == "CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION"
        assert attribute.value.programmaticStreamSerializationAllowed == 1


def test_a_tensor_map_counts_as_its_matrix_s_device():
    tensor_map = TensorMap(torch.zeros(8, 64, dtype=torch.float16), 8, 64)
    with pytest.raises(ValueError, match=r"one CUDA device, got \['cpu'\]"):
        importlib.import_module("mohge.dispatch.cuda.engine")._device_of([tensor_map, 7])


def test_engine_refuses_the_cpu():
    with pytest.raises(ValueError, match="one CUDA device"):
        importlib.import_module("mohge.dispatch.cuda.engine")._device_of([torch.zeros(1)])
    assert "cpu" in (CupyEngine.unavailable(torch.device("cpu")) or "")
