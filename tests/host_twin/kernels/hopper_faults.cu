// One planted fault in each kernel, blocks of 64 threads (or 128, a warpgroup) with 2048 bytes of dynamic shared
// memory: what the faults planted in the GEMM kernels (tests/kernels/test_cupy_hopper.py) leave out.
#include <hopper.cuh>

__device__ __forceinline__ chip::Barrier* make_barrier(int arrivals) {
    chip::Barrier* barrier = reinterpret_cast<chip::Barrier*>(chip::dynamic_shared<char>() + 1024);
    if (threadIdx.x == 0) {
        chip::barrier_init(barrier, arrivals);
        chip::barrier_init_fence();
    }
    chip::block_barrier();
    return barrier;
}

__device__ __forceinline__ void load(const chip::TensorMap* map, chip::Barrier* barrier, int offset) {
    if (threadIdx.x != 0) return;
    chip::barrier_arrive_expect(barrier, 1024);
    chip::tma_load_2d(chip::dynamic_shared<char>() + offset, map, barrier, 0, 0);
}

extern "C" __global__ void leaves_a_copy_under_way(int* y, const __grid_constant__ chip::TensorMap map) {
    load(&map, make_barrier(1), 0);
    y[threadIdx.x] = 0;
}

extern "C" __global__ void box_at_an_odd_place(int* y, const __grid_constant__ chip::TensorMap map) {
    chip::Barrier* barrier = make_barrier(1);
    load(&map, barrier, 512);
    chip::barrier_wait(barrier, 0);
    y[threadIdx.x] = 0;
}

extern "C" __global__ void box_past_the_end(int* y, const __grid_constant__ chip::TensorMap map) {
    chip::Barrier* barrier = make_barrier(1);
    load(&map, barrier, 2048);
    chip::barrier_wait(barrier, 0);
    y[threadIdx.x] = 0;
}

extern "C" __global__ void barrier_never_made(int* y) {
    chip::barrier_wait(chip::dynamic_shared<chip::Barrier>(), 0);
    y[threadIdx.x] = 0;
}

extern "C" __global__ void barrier_made_twice(int* y) {
    chip::Barrier* barrier = make_barrier(1);
    if (threadIdx.x == 0) chip::barrier_init(barrier, 1);
    y[threadIdx.x] = 0;
}

extern "C" __global__ void too_many_arrivals(int* y) {
    chip::Barrier* barrier = make_barrier(63);
    chip::barrier_arrive(barrier, 2);
    y[threadIdx.x] = 0;
}

// One warp writes, the other reads after a barrier that the first did not arrive at after it wrote.
extern "C" __global__ void arrives_before_it_writes(int* y) {
    __shared__ int number;
    chip::Barrier* barrier = make_barrier(32);
    if (threadIdx.x < 32) {
        chip::barrier_arrive(barrier);
        if (threadIdx.x == 0) number = 1;
    } else {
        chip::barrier_wait(barrier, 0);
        y[threadIdx.x] = number;
    }
}

extern "C" __global__ void half_a_named_barrier(int* y) {
    if (threadIdx.x < 32) chip::named_barrier_arrive(1, 64);
    y[threadIdx.x] = 0;
}

extern "C" __global__ void two_sizes_of_a_named_barrier(int* y) {
    chip::named_barrier_sync(1, threadIdx.x < 32 ? 32 : 64);
    chip::named_barrier_sync(1, 64 - threadIdx.x / 32 * 32);
    y[threadIdx.x] = 0;
}

extern "C" __global__ void named_barrier_zero(int* y) {
    chip::named_barrier_sync(0, 64);
    y[threadIdx.x] = 0;
}

// A warpgroup of which the last warp does something else: products of what lies in the first 2048 bytes with itself.
enum class Last { ALIKE, OTHER_OPERAND, NO_SUM, NO_COMMIT, SHORTER_WAIT, NOTHING };

template <Last LAST>
__device__ void multiply() {
    __half* matrix = chip::dynamic_shared<__half>();
    for (int i = threadIdx.x; i < 1024; i += blockDim.x) matrix[i] = __half{};
    chip::async_proxy_fence();
    chip::block_barrier();
    const bool last = threadIdx.x >= 96;
    if (LAST == Last::NOTHING && last) return;
    const auto operand = [&](int k) {
        return chip::matrix_descriptor(matrix + k, 16, 0, {"", 0});  // a stride of 0: the same eight lines again
    };
    float sum[4];
    chip::wgmma_fence();
    chip::wgmma_first<__half, 8, false>(sum, operand(0), operand(0));
    if (LAST == Last::NO_SUM && last)
        chip::wgmma_first<__half, 8, false>(sum, operand(16), operand(16));
    else
        chip::wgmma<__half, 8, false>(sum, operand(LAST == Last::OTHER_OPERAND && last ? 32 : 16), operand(16));
    if (LAST != Last::NO_COMMIT || !last) chip::wgmma_commit();
    if (LAST == Last::SHORTER_WAIT && last)
        chip::wgmma_wait<1>();
    else
        chip::wgmma_wait<0>();
}

extern "C" __global__ void products_of_half_a_warpgroup(int* y) {
    multiply<Last::ALIKE>();
    y[threadIdx.x] = 0;
}

extern "C" __global__ void one_warp_multiplies_something_else(int*) { multiply<Last::OTHER_OPERAND>(); }

extern "C" __global__ void one_warp_multiplies_without_adding(int*) { multiply<Last::NO_SUM>(); }

extern "C" __global__ void one_warp_does_not_commit(int*) { multiply<Last::NO_COMMIT>(); }

extern "C" __global__ void one_warp_waits_for_less(int*) { multiply<Last::SHORTER_WAIT>(); }

extern "C" __global__ void one_warp_makes_no_products(int*) { multiply<Last::NOTHING>(); }

extern "C" __global__ void one_warp_takes_other_registers(int*) {
    if (threadIdx.x < 96)
        chip::registers_take<200>();
    else
        chip::registers_take<208>();
}
