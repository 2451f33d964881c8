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

// out [2, 64, N]: twice a [64, 64] times b, first b given by lines [N, 64], then by columns [64, N]. 128 threads.
template <int N>
__device__ void product(float* out, const chip::TensorMap* a, const chip::TensorMap* by_lines,
                        const chip::TensorMap* by_columns) {
    Element* left = chip::dynamic_shared<Element>();
    Element* lines = left + 64 * LINE;
    Element* columns = lines + N * LINE;
    chip::Barrier* barrier = make_barrier((64 + 2 * N) * LINE, 1);
    if (threadIdx.x == 0) {
        chip::barrier_arrive_expect(barrier, (64 + 2 * N) * LINE * 2);
        chip::tma_load_2d(left, a, barrier, 0, 0);
        chip::tma_load_2d(lines, by_lines, barrier, 0, 0);
        for (int block = 0; block < N / LINE; ++block)
            chip::tma_load_2d(columns + block * LINE * LINE, by_columns, barrier, block * LINE, 0);
    }
    chip::barrier_wait(barrier, 0);
#pragma unroll
    for (int way = 0; way < 2; ++way) {
        float sum[N / 2];
        chip::wgmma_fence();
        if (way == 0) {
            chip::wgmma_first<Element, N, false>(sum, chip::matrix_by_lines(left), chip::matrix_by_lines(lines));
#pragma unroll
            for (int k = 16; k < LINE; k += 16)
                chip::wgmma<Element, N, false>(sum, chip::matrix_by_lines(left + k), chip::matrix_by_lines(lines + k));
        } else {
            constexpr int BLOCK_BYTES = LINE * LINE * 2;
            chip::wgmma_first<Element, N, true>(sum, chip::matrix_by_lines(left),
                                                chip::matrix_by_columns(columns, BLOCK_BYTES));
#pragma unroll
            for (int k = 16; k < LINE; k += 16)
                chip::wgmma<Element, N, true>(sum, chip::matrix_by_lines(left + k),
                                              chip::matrix_by_columns(columns + k * LINE, BLOCK_BYTES));
        }
        chip::wgmma_commit();
        chip::wgmma_wait<0>();
        chip::wgmma_finished(sum);
        const int row = threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4;
        for (int i = 0; i < N / 2; ++i) {
            const int column = i / 4 * 8 + threadIdx.x % 4 * 2 + i % 2;
            out[(way * 64 + row + i / 2 % 2 * 8) * N + column] = sum[i];
        }
    }
}

extern "C" __global__ void product_64(float* out, const __grid_constant__ chip::TensorMap a,
                                      const __grid_constant__ chip::TensorMap by_lines,
                                      const __grid_constant__ chip::TensorMap by_columns) {
    product<64>(out, &a, &by_lines, &by_columns);
}

extern "C" __global__ void product_128(float* out, const __grid_constant__ chip::TensorMap a,
                                       const __grid_constant__ chip::TensorMap by_lines,
                                       const __grid_constant__ chip::TensorMap by_columns) {
    product<128>(out, &a, &by_lines, &by_columns);
}

extern "C" __global__ void product_256(float* out, const __grid_constant__ chip::TensorMap a,
                                       const __grid_constant__ chip::TensorMap by_lines,
                                       const __grid_constant__ chip::TensorMap by_columns) {
    product<256>(out, &a, &by_lines, &by_columns);
}

// Two warps pass a number to and fro over an mbarrier and a named barrier, `rounds` times: *out = 2 * rounds. The grid
// may start early; the registers of a third warpgroup are given and taken. 384 threads.
extern "C" __global__ void __launch_bounds__(384, 1) handshake(int* out, int rounds) {
    __shared__ int number;
    chip::Barrier* barrier = make_barrier(8, 32);
    chip::next_grid_may_start();
    chip::previous_grid_wait();
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
