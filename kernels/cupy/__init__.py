"""The expert FFN in raw CUDA C++, compiled by NVRTC and launched through CuPy and the driver.

README.md lists the versions, LOG.md says what was expected of them and what came of it.

tile        a shared-memory tile kernel on the CUDA cores: float32, float16 and bfloat16, any H and W (tile.cu)
mma         tensor cores with a cp.async pipeline: float16 and bfloat16, H in eights (mma.cu); so are the next three
wgmma       Hopper's wgmma fed by TMA, one tile a block (wgmma.cu)
persistent  the same in blocks that walk the work list, with ping-pong for narrow experts (persistent.cu)
swapped     for few rows an expert: weights as wgmma's left operand, streamed through all shared memory (swapped.cu)

Each version is one launch per GEMM for all experts, whatever their widths: fc1 gathers the rows of x as it loads them
and ends with SwiGLU, fc2 writes rows in plan order, and dispatch combines them.
"""
