// The wrappers of hopper.cuh in kernels small enough to check by hand. ELEMENT is __half or __nv_bfloat16.
#include <hopper.cuh>

using Element = ELEMENT;

constexpr int LINE = 64;

// The ring's beginning: one barrier behind `elements` elements of dynamic shared memory, for `arrivals` threads.
__device__ __forceinline__ chip::Barrier* make_barrier(int elements, int arrivals) {
    chip::Barrier* barrier = reinterpret_cast<chip::Barrier*>(chip::dynamic_shared<Element>() + elements);
    if (threadIdx.x == 0) {
        chip::barrier_init(barrier, arrivals);
        chip::barrier_init_fence();
    }
    chip::block_barrier();
    return barrier;
}

// out [8, 64] = the box of `matrix` at (line, column), as it lies in shared memory. 64 threads; box 8 x 64.
extern "C" __global__ void box(Element* out, const __grid_constant__ chip::TensorMap matrix, int line, int column) {
    Element* shared = chip::dynamic_shared<Element>();
    chip::Barrier* barrier = make_barrier(8 * LINE, 1);
    chip::prefetch_tensor_map(&matrix);
    if (threadIdx.x == 0) {
        chip::barrier_arrive_expect(barrier, 8 * LINE * 2);
        chip::tma_load_2d(shared, &matrix, barrier, column, line);
    }
    chip::barrier_wait(barrier, 0);
    chip::store(out + 8 * threadIdx.x, chip::load<8>(shared + 8 * threadIdx.x));
}

// out [64, N] = a product of 64 of k, each operand either by lines or by columns.
template <int N, bool A_BY_COLUMNS, bool B_BY_COLUMNS>
__device__ __forceinline__ void product_one_way(float* out, const Element* a, const Element* b) {
    constexpr int BLOCK_BYTES = LINE * LINE * 2;
    const auto left = [&](int k) {
        return A_BY_COLUMNS ? chip::matrix_by_columns(a + k * LINE, BLOCK_BYTES) : chip::matrix_by_lines(a + k);
    };
    const auto right = [&](int k) {
        return B_BY_COLUMNS ? chip::matrix_by_columns(b + k * LINE, BLOCK_BYTES) : chip::matrix_by_lines(b + k);
    };
    float sum[N / 2];
    chip::wgmma_fence();
    chip::wgmma_first<Element, N, B_BY_COLUMNS, A_BY_COLUMNS>(sum, left(0), right(0));
#pragma unroll
    for (int k = 16; k < LINE; k += 16)
        chip::wgmma<Element, N, B_BY_COLUMNS, A_BY_COLUMNS>(sum, left(k), right(k));
    chip::wgmma_commit();
    chip::wgmma_wait<0>();
    chip::wgmma_finished(sum);
    const int row = threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4;
    for (int i = 0; i < N / 2; ++i) {
        const int column = i / 4 * 8 + threadIdx.x % 4 * 2 + i % 2;
        out[(row + i / 2 % 2 * 8) * N + column] = sum[i];
    }
}

// out [64, N] = a [64, 64] times b, which by lines is [N, 64], by columns [64, N]. way: 1 for a by columns; 2, from N
// 64 on, for b by columns; 3 for both. 128 threads.
template <int N>
__device__ __forceinline__ void product(int way, float* out, const chip::TensorMap* a_by_lines,
                                        const chip::TensorMap* a_by_columns, const chip::TensorMap* b_by_lines,
                                        const chip::TensorMap* b_by_columns) {
    constexpr int BLOCKS = N / LINE;
    Element* a_lines = chip::dynamic_shared<Element>();
    Element* a_columns = a_lines + 64 * LINE;
    Element* b_columns = a_columns + 64 * LINE;
    Element* b_lines = b_columns + BLOCKS * LINE * LINE;
    constexpr int ELEMENTS = (128 + BLOCKS * LINE + N) * LINE;
    chip::Barrier* barrier = make_barrier(ELEMENTS, 1);
    if (threadIdx.x == 0) {
        chip::barrier_arrive_expect(barrier, ELEMENTS * 2);
        chip::tma_load_2d(a_lines, a_by_lines, barrier, 0, 0);
        chip::tma_load_2d(a_columns, a_by_columns, barrier, 0, 0);
        chip::tma_load_2d(b_lines, b_by_lines, barrier, 0, 0);
        for (int block = 0; block < BLOCKS; ++block)
            chip::tma_load_2d(b_columns + block * LINE * LINE, b_by_columns, barrier, block * LINE, 0);
    }
    chip::barrier_wait(barrier, 0);
    if (way == 0) product_one_way<N, false, false>(out, a_lines, b_lines);
    if (way == 1) product_one_way<N, true, false>(out, a_columns, b_lines);
    if constexpr (BLOCKS > 0) {
        if (way == 2) product_one_way<N, false, true>(out, a_lines, b_columns);
        if (way == 3) product_one_way<N, true, true>(out, a_columns, b_columns);
    }
}

extern "C" __global__ void product_8(float* out, const __grid_constant__ chip::TensorMap a_by_lines,
                                     const __grid_constant__ chip::TensorMap a_by_columns,
                                     const __grid_constant__ chip::TensorMap b_by_lines,
                                     const __grid_constant__ chip::TensorMap b_by_columns, int way) {
    product<8>(way, out, &a_by_lines, &a_by_columns, &b_by_lines, &b_by_columns);
}

extern "C" __global__ void product_16(float* out, const __grid_constant__ chip::TensorMap a_by_lines,
                                      const __grid_constant__ chip::TensorMap a_by_columns,
                                      const __grid_constant__ chip::TensorMap b_by_lines,
                                      const __grid_constant__ chip::TensorMap b_by_columns, int way) {
    product<16>(way, out, &a_by_lines, &a_by_columns, &b_by_lines, &b_by_columns);
}

extern "C" __global__ void product_32(float* out, const __grid_constant__ chip::TensorMap a_by_lines,
                                      const __grid_constant__ chip::TensorMap a_by_columns,
                                      const __grid_constant__ chip::TensorMap b_by_lines,
                                      const __grid_constant__ chip::TensorMap b_by_columns, int way) {
    product<32>(way, out, &a_by_lines, &a_by_columns, &b_by_lines, &b_by_columns);
}

extern "C" __global__ void product_64(float* out, const __grid_constant__ chip::TensorMap a_by_lines,
                                      const __grid_constant__ chip::TensorMap a_by_columns,
                                      const __grid_constant__ chip::TensorMap b_by_lines,
                                      const __grid_constant__ chip::TensorMap b_by_columns, int way) {
    product<64>(way, out, &a_by_lines, &a_by_columns, &b_by_lines, &b_by_columns);
}

extern "C" __global__ void product_128(float* out, const __grid_constant__ chip::TensorMap a_by_lines,
                                       const __grid_constant__ chip::TensorMap a_by_columns,
                                       const __grid_constant__ chip::TensorMap b_by_lines,
                                       const __grid_constant__ chip::TensorMap b_by_columns, int way) {
    product<128>(way, out, &a_by_lines, &a_by_columns, &b_by_lines, &b_by_columns);
}

extern "C" __global__ void product_256(float* out, const __grid_constant__ chip::TensorMap a_by_lines,
                                       const __grid_constant__ chip::TensorMap a_by_columns,
                                       const __grid_constant__ chip::TensorMap b_by_lines,
                                       const __grid_constant__ chip::TensorMap b_by_columns, int way) {
    product<256>(way, out, &a_by_lines, &a_by_columns, &b_by_lines, &b_by_columns);
}

// out [64, 8] = ones [64, 16] times ones [16, 8], overwritten as soon as the first lane of every warp says that its
// warp has used them, while the other lanes are late. 160 threads.
extern "C" __global__ void late_lanes(float* out) {
    constexpr int ELEMENTS = (64 + 8) * LINE;
    Element* ones = chip::dynamic_shared<Element>();
    for (int i = threadIdx.x; i < ELEMENTS; i += blockDim.x) ones[i] = chip::from_float<Element>(1.0f);
    chip::Barrier* go_on = make_barrier(ELEMENTS, 1);
    chip::Barrier* used = go_on + 1;
    if (threadIdx.x == 0) chip::barrier_init(used, chip::WARPGROUP / 32);
    chip::async_proxy_fence();
    chip::block_barrier();
    if (threadIdx.x >= chip::WARPGROUP) {
        if (threadIdx.x > chip::WARPGROUP) return;
        chip::barrier_arrive(go_on);
        chip::barrier_wait(used, 0);
        for (int i = 64 * LINE; i < ELEMENTS; ++i) ones[i] = chip::from_float<Element>(0.0f);
        return;
    }
    float sum[4];
    chip::wgmma_fence();
    chip::wgmma_first<Element, 8, false>(sum, chip::matrix_by_lines(ones), chip::matrix_by_lines(ones + 64 * LINE));
    chip::wgmma_commit();
    if (threadIdx.x % 32 != 0) chip::barrier_wait(go_on, 0);
    chip::wgmma_wait<0>();
    chip::wgmma_finished(sum);
    if (threadIdx.x % 32 == 0) chip::barrier_arrive(used);
    for (int i = 0; i < 4; ++i) {
        const int row = threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4 + i / 2 * 8;
        out[row * 8 + threadIdx.x % 4 * 2 + i % 2] = sum[i];
    }
}

// y[i] = x[i], read before the grid before this one has ended; the next may start before or after that. 64 threads.
template <bool HASTY>
__device__ void copy_early(int* y, const int* x) {
    const int number = x[threadIdx.x];
    if (HASTY) chip::next_grid_may_start();
    chip::previous_grid_wait();
    chip::next_grid_may_start();
    y[threadIdx.x] = number;
}

extern "C" __global__ void copy_and_wait(int* y, const int* x) { copy_early<false>(y, x); }

extern "C" __global__ void copy_in_haste(int* y, const int* x) { copy_early<true>(y, x); }

// Two warps pass a number to and fro over an mbarrier and a named barrier, `rounds` times: *out = 2 * rounds. The grid
// may start early; the registers of a third warpgroup are given and taken. 384 threads.
extern "C" __global__ void __launch_bounds__(384, 1) handshake(int* out, int rounds) {
    __shared__ int number;
    chip::Barrier* barrier = make_barrier(8, 32);
    chip::previous_grid_wait();
    chip::next_grid_may_start();
    if (threadIdx.x >= 256) {
        chip::registers_give<40>();
        return;
    }
    chip::registers_take<200>();
    if (threadIdx.x == 0) number = 0;
    for (int round = 0; round < rounds; ++round) {
        if (threadIdx.x < 32) {
            if (threadIdx.x == 0) ++number;
            chip::barrier_arrive(barrier);
            chip::named_barrier_sync(1, 64);
        } else if (threadIdx.x < 64) {
            chip::barrier_wait(barrier, round & 1);
            if (threadIdx.x == 32) ++number;
            chip::named_barrier_arrive(1, 64);
        }
    }
    if (threadIdx.x == 0) *out = number;
}
