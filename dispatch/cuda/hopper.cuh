// The second part of the one door to the chip: what Hopper (compute capability 9.0, compiled for sm_90a) adds.
//
// tests/host_twin holds a header of the same name that does the same on the host, as for wrappers.cuh.
//
//   mbarrier    Barrier, barrier_init, barrier_init_fence, barrier_arrive, barrier_arrive_expect, barrier_wait
//   TMA         TensorMap, prefetch_tensor_map, tma_load_2d
//   wgmma       matrix_by_lines, matrix_by_columns, wgmma_fence, wgmma_first, wgmma, wgmma_commit, wgmma_wait,
//               wgmma_finished
//   warpgroups  named_barrier_sync, named_barrier_arrive, registers_take, registers_give, async_proxy_fence
//   launches    previous_grid_wait, next_grid_may_start
//
// Operands of TMA and wgmma lie in shared memory in lines of 128 bytes (64 elements of 16 bits) with the 128-byte
// swizzle: 16-byte chunk c of line l is stored at place c XOR (l % 8). A matrix starts on a multiple of 1024 bytes.
// Facts about the instructions: PTX ISA 9.0, sections on mbarrier, cp.async.bulk.tensor and wgmma.
#pragma once

#include <wrappers.cuh>

namespace chip {

constexpr int WARPGROUP = 128;

__device__ __forceinline__ unsigned shared_address(const void* shared) {
    return static_cast<unsigned>(__cvta_generic_to_shared(shared));
}

// ---- mbarrier: a barrier in shared memory that counts arrivals of threads and bytes of copies, phase after phase

using Barrier = unsigned long long;

// By one thread, before anybody else touches it. `arrivals` threads arrive in each phase.
__device__ __forceinline__ void barrier_init(Barrier* barrier, int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
}

// By the thread that initialised barriers, before the block barrier after which others use them: makes them known to
// the copy engine.
__device__ __forceinline__ void barrier_init_fence() {
    asm volatile("fence.mbarrier_init.release.cluster;\n" ::: "memory");
}

// What this thread did before is seen by whoever waits for the phase this arrival belongs to.
__device__ __forceinline__ void barrier_arrive(Barrier* barrier, int arrivals = 1) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0], %1;\n" ::"r"(shared_address(barrier)), "r"(arrivals)
                 : "memory");
}

// Arrives, and the phase also waits for `bytes` bytes of copies.
__device__ __forceinline__ void barrier_arrive_expect(Barrier* barrier, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\n" ::"r"(shared_address(barrier)), "r"(bytes)
                 : "memory");
}

// Waits until the phase of this parity is complete. Phases have parity 0, 1, 0, ...; a fresh barrier counts as one
// whose phase of parity 1 is complete.
__device__ __forceinline__ void barrier_wait(Barrier* barrier, unsigned parity) {
    const unsigned address = shared_address(barrier);
    unsigned complete = 0;
    while (complete == 0) {
        asm volatile(
            "{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}\n"
            : "=r"(complete)
            : "r"(address), "r"(parity)
            : "memory");
    }
}

// ---- TMA: boxes of a matrix in global memory to shared memory

// What the driver's cuTensorMapEncodeTiled wrote: a matrix and the shape of its boxes. A kernel takes it as a
// `const __grid_constant__` parameter.
struct alignas(64) TensorMap {
    unsigned long long opaque[16];
};

__device__ __forceinline__ void prefetch_tensor_map(const TensorMap* map) {
    asm volatile("prefetch.tensormap [%0];\n" ::"l"(map) : "memory");
}

// Starts copying the box whose first element is (line, column) to `shared`, swizzled; elements outside the matrix
// become zero. When all is there, the box's bytes are taken off what `barrier` waits for. One thread does this.
__device__ __forceinline__ void tma_load_2d(void* shared, const TensorMap* map, Barrier* barrier, int column,
                                            int line) {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
        "[%0], [%1, {%2, %3}], [%4];\n" ::"r"(shared_address(shared)),
        "l"(map), "r"(column), "r"(line), "r"(shared_address(barrier))
        : "memory");
}

// What this thread wrote to shared memory itself (cp.async included, once waited for) is seen by TMA and wgmma, by
// whoever this thread tells afterwards.
__device__ __forceinline__ void async_proxy_fence() { asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory"); }

// ---- warpgroups: four warps, the first of them a multiple of four

// Barrier `id` (1 to 15) of the block for `threads` threads, in whole warps, waiting ones and arriving ones together.
__device__ __forceinline__ void named_barrier_sync(int id, int threads) {
    asm volatile("bar.sync %0, %1;\n" ::"r"(id), "r"(threads) : "memory");
}

__device__ __forceinline__ void named_barrier_arrive(int id, int threads) {
    asm volatile("bar.arrive %0, %1;\n" ::"r"(id), "r"(threads) : "memory");
}

// By all warps of a warpgroup: a thread may use up to COUNT registers from here on; waits until others gave enough.
template <int COUNT>
__device__ __forceinline__ void registers_take() {
    static_assert(COUNT % 8 == 0 && COUNT >= 24 && COUNT <= 256);
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;\n" ::"n"(COUNT));
}

template <int COUNT>
__device__ __forceinline__ void registers_give() {
    static_assert(COUNT % 8 == 0 && COUNT >= 24 && COUNT <= 256);
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;\n" ::"n"(COUNT));
}

// ---- launches: a grid may be started while the one before it in the stream still runs (programmatic dependent launch)

// Waits until the grid before this one has ended; before that, nothing may be read that it wrote. What older grids
// wrote may be, if the one before waited itself before it said next_grid_may_start: it then had seen them end, and this
// grid starts later. Without such a launch it does nothing, for then the grid starts when the one before has ended.
__device__ __forceinline__ void previous_grid_wait() { asm volatile("griddepcontrol.wait;\n" ::: "memory"); }

// This block does not keep the next grid from starting; it starts when all blocks have said so, or ended.
__device__ __forceinline__ void next_grid_may_start() {
    asm volatile("griddepcontrol.launch_dependents;\n" ::: "memory");
}

// ---- wgmma: a warpgroup multiplies matrices that lie in shared memory

// A descriptor holds, in units of 16 bytes, the address (bits 0-13) and two strides (bits 16-29 and 32-45), and in bits
// 62-63 the swizzle, 1 for 128 bytes.
__device__ __forceinline__ unsigned long long matrix_descriptor(const void* shared, unsigned leading, unsigned stride) {
    const unsigned long long address = (shared_address(shared) & 0x3ffff) >> 4;
    return address | static_cast<unsigned long long>(leading >> 4) << 16 |
           static_cast<unsigned long long>(stride >> 4) << 32 | 1ull << 62;
}

// A matrix whose lines are rows of A or columns of B, along k; `shared` may point 32, 64 or 96 bytes into the first
// line for the k that follow. Eight lines are 1024 bytes.
__device__ __forceinline__ unsigned long long matrix_by_lines(const void* shared) {
    return matrix_descriptor(shared, 16, 1024);
}

// B given as lines of 64 columns, one line for each k, eight of which are 1024 bytes; or A, 64 of whose rows lie in
// such a line. 64 further columns (rows) start `block_bytes` later; a product has but 64 rows of A, so there it says
// nothing. PTX ISA 9.0, "Shared Memory Matrix Layout" (MN-major with 128-byte swizzle: atoms of 8 k lines), and
// CUTLASS's canonical layout for both operands, ((8,8,m),(8,k)) : ((1,8,LBO),(64,SBO)) elements,
// mma_traits_sm90_gmma.hpp.
__device__ __forceinline__ unsigned long long matrix_by_columns(const void* shared, unsigned block_bytes) {
    return matrix_descriptor(shared, block_bytes, 1024);
}

// Before the first wgmma, and before one whose sums were touched by other instructions.
__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory"); }

// Closes the group of products started since the last commit.
__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory"); }

// Waits until at most N of the youngest groups are still under way; only then may sums be read and operands be
// overwritten.
template <int N>
__device__ __forceinline__ void wgmma_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;\n" ::"n"(N) : "memory");
}

// After wgmma_wait<0>, before sums are used: keeps the compiler, which takes them for finished when a product has been
// started, from moving their use in front of the wait.
template <int COUNT>
__device__ __forceinline__ void wgmma_finished(float (&d)[COUNT]) {
#pragma unroll
    for (int i = 0; i < COUNT; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

#define CHIP_REGISTERS_4 "%0, %1, %2, %3"
#define CHIP_REGISTERS_8 CHIP_REGISTERS_4 ", %4, %5, %6, %7"
#define CHIP_REGISTERS_16 CHIP_REGISTERS_8 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define CHIP_REGISTERS_32 CHIP_REGISTERS_16 ", " \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define CHIP_REGISTERS_64 CHIP_REGISTERS_32 ", " \
    "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
    "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define CHIP_REGISTERS_128 CHIP_REGISTERS_64 ", " \
    "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
    "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, " \
    "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, " \
    "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define CHIP_SUMS_4(C, d, i) C(d[i]), C(d[i + 1]), C(d[i + 2]), C(d[i + 3])
#define CHIP_SUMS_8(C, d, i) CHIP_SUMS_4(C, d, i), CHIP_SUMS_4(C, d, i + 4)
#define CHIP_SUMS_16(C, d, i) CHIP_SUMS_8(C, d, i), CHIP_SUMS_8(C, d, i + 8)
#define CHIP_SUMS_32(C, d, i) CHIP_SUMS_16(C, d, i), CHIP_SUMS_16(C, d, i + 16)
#define CHIP_SUMS_64(C, d, i) CHIP_SUMS_32(C, d, i), CHIP_SUMS_32(C, d, i + 32)
#define CHIP_SUMS_128(C, d, i) CHIP_SUMS_64(C, d, i), CHIP_SUMS_64(C, d, i + 64)
// COUNT sums of a thread; A, B, LEFT, RIGHT: the numbers of the operands after them, two descriptors and whether each
// matrix is transposed. ADD: 1, or 0 where the sums are only written.
#define CHIP_WGMMA(N, COUNT, TYPE, C, A, B, LEFT, RIGHT, ADD)                                                       \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " #ADD ", 0;\nwgmma.mma_async.sync.aligned.m64n" #N "k16.f32."   \
                 TYPE "." TYPE " {" CHIP_REGISTERS_##COUNT "}, %" #A ", %" #B ", p, 1, 1, %" #LEFT ", %" #RIGHT     \
                 ";\n}\n"                                                                                           \
                 : CHIP_SUMS_##COUNT(C, d, 0)                                                                       \
                 : "l"(a), "l"(b), "n"(A_BY_COLUMNS ? 1 : 0), "n"(B_BY_COLUMNS ? 1 : 0))
#define CHIP_WGMMA_SHAPES(TYPE, C, ADD)                                                                             \
    if constexpr (N == 8)                                                                                           \
        CHIP_WGMMA(8, 4, TYPE, C, 4, 5, 6, 7, ADD);                                                                 \
    else if constexpr (N == 16)                                                                                     \
        CHIP_WGMMA(16, 8, TYPE, C, 8, 9, 10, 11, ADD);                                                              \
    else if constexpr (N == 32)                                                                                     \
        CHIP_WGMMA(32, 16, TYPE, C, 16, 17, 18, 19, ADD);                                                           \
    else if constexpr (N == 64)                                                                                     \
        CHIP_WGMMA(64, 32, TYPE, C, 32, 33, 34, 35, ADD);                                                           \
    else if constexpr (N == 128)                                                                                    \
        CHIP_WGMMA(128, 64, TYPE, C, 64, 65, 66, 67, ADD);                                                          \
    else                                                                                                            \
        CHIP_WGMMA(256, 128, TYPE, C, 128, 129, 130, 131, ADD)
#define CHIP_CHANGED(value) "+f"(value)
#define CHIP_WRITTEN(value) "=f"(value)

template <typename T>
constexpr bool IS_BFLOAT16 = false;
template <>
constexpr bool IS_BFLOAT16<__nv_bfloat16> = true;

// d [64 x N, float] += a [64 x 16] b [16 x N], under way until waited for. Lane l of warp w of the group
// holds, of every 8 columns j, rows 16 w + l / 4 and that + 8, columns 8 j + 2 (l % 4) and that + 1:
//   d[4 j], d[4 j + 1] of the first row     d[4 j + 2], d[4 j + 3] of the second
// a, b: descriptors. T is __half or __nv_bfloat16, which both may be transposed; A_BY_COLUMNS and B_BY_COLUMNS say
// which of them is from matrix_by_columns.
template <typename T, int N, bool B_BY_COLUMNS, bool A_BY_COLUMNS = false>
__device__ __forceinline__ void wgmma(float (&d)[N / 2], unsigned long long a, unsigned long long b) {
    static_assert(N == 8 || N == 16 || N == 32 || N == 64 || N == 128 || N == 256);
    if constexpr (IS_BFLOAT16<T>) {
        CHIP_WGMMA_SHAPES("bf16", CHIP_CHANGED, 1);
    } else {
        CHIP_WGMMA_SHAPES("f16", CHIP_CHANGED, 1);
    }
}

// d = a b. A first product is made this way: zeros put into the sums beforehand would make the compiler wait after each
// product that follows.
template <typename T, int N, bool B_BY_COLUMNS, bool A_BY_COLUMNS = false>
__device__ __forceinline__ void wgmma_first(float (&d)[N / 2], unsigned long long a, unsigned long long b) {
    static_assert(N == 8 || N == 16 || N == 32 || N == 64 || N == 128 || N == 256);
    if constexpr (IS_BFLOAT16<T>) {
        CHIP_WGMMA_SHAPES("bf16", CHIP_WRITTEN, 0);
    } else {
        CHIP_WGMMA_SHAPES("f16", CHIP_WRITTEN, 0);
    }
}

}  // namespace chip
