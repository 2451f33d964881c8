// Version 1: a shared-memory tile kernel on the CUDA cores, for float32, float16 and bfloat16 and any H and W.
//
//   fc1:  activation[r, w] = silu(x[t] . gate_e[w]) * (x[t] . up_e[w])    t = row_token[r], e the expert of row r
//   fc2:  rows[r, h]       = sum over w of activation[r, w] * down_e[h, w]
//
// Floor. FLOPs: sum over e of n_e * 6 * H * W_e (fc1 has two thirds of them), each an FMA in float32: an H200 does 67
// TFLOP/s of those, so mohge-3b with 16384 tokens (0.50 TFLOP) cannot take less than 7.5 ms here, whatever the dtype.
// Bytes: every weight once (3 * H * sum of W_e), x once per row block, activation written and read, rows written: at
// those sizes far below the time of the arithmetic. Per FMA the inner loop reads
// (THREAD_M + 2 * THREAD_N) / (2 * THREAD_M * THREAD_N) floats of shared memory, a quarter at 8 x 4.
//
// One launch computes all experts. Blocks walk the work list with a grid-wide stride. A step brings BLOCK_K elements
// of the inner dimension to shared memory as float32, through registers, so that the loads of the next step fly while
// this one is multiplied; two buffers make one barrier a step enough. Everything outside an operand counts as zero.
//
// Constants given at compile time: ELEMENT, BLOCK_M, BLOCK_N, BLOCK_K, THREAD_M, THREAD_N, BLOCKS_PER_SM.
#include <wrappers.cuh>

#include "work.cuh"

using Element = ELEMENT;

constexpr int THREADS_N = BLOCK_N / THREAD_N;
constexpr int THREADS = BLOCK_M / THREAD_M * THREADS_N;
constexpr int A_COUNT = BLOCK_M * BLOCK_K / THREADS;  // elements of a slice one thread carries
constexpr int B_COUNT = BLOCK_N * BLOCK_K / THREADS;
constexpr int PAD = 4;  // keeps rows on 16 bytes and spreads the transposing stores over the banks

struct Buffers {
    float* a;  // [2][BLOCK_K][BLOCK_M + PAD]
    float* b;  // [2][parts][BLOCK_K][BLOCK_N + PAD]
};

// Where this thread's i-th element of a slice lies: for operands contiguous along k, neighbours take neighbouring k.
__device__ __forceinline__ int slice_k() { return threadIdx.x % BLOCK_K; }
__device__ __forceinline__ int slice_line(int i) { return threadIdx.x / BLOCK_K + i * (THREADS / BLOCK_K); }
// And for those contiguous along the columns, neighbouring columns.
__device__ __forceinline__ int slice_column() { return threadIdx.x % BLOCK_N; }
__device__ __forceinline__ int slice_depth(int i) { return threadIdx.x / BLOCK_N + i * (THREADS / BLOCK_N); }

// sum[p][i][j] += A[row i] . B_p[column j] over `depth` elements, for this thread's THREAD_M x THREAD_N outputs.
// read_a(i, k0) and read_b(p, i, k0) give this thread's i-th element of the slice at k0, as float32.
template <int PARTS, bool B_ALONG_K, class ReadA, class ReadB>
__device__ __forceinline__ void multiply(int depth, Buffers shared, const ReadA& read_a, const ReadB& read_b,
                                float (&sum)[PARTS][THREAD_M][THREAD_N]) {
    constexpr int A_LINE = BLOCK_M + PAD;
    constexpr int B_LINE = BLOCK_N + PAD;
    const int thread_row = threadIdx.x / THREADS_N * THREAD_M;
    const int thread_column = threadIdx.x % THREADS_N * THREAD_N;
    float next_a[A_COUNT];
    float next_b[PARTS][B_COUNT];

    auto fetch = [&](int k0) {
#pragma unroll
        for (int i = 0; i < A_COUNT; ++i) next_a[i] = read_a(i, k0);
#pragma unroll
        for (int p = 0; p < PARTS; ++p)
#pragma unroll
            for (int i = 0; i < B_COUNT; ++i) next_b[p][i] = read_b(p, i, k0);
    };
    auto deposit = [&](int buffer) {
        float* a = shared.a + buffer * BLOCK_K * A_LINE;
        float* b = shared.b + buffer * PARTS * BLOCK_K * B_LINE;
#pragma unroll
        for (int i = 0; i < A_COUNT; ++i) a[slice_k() * A_LINE + slice_line(i)] = next_a[i];
#pragma unroll
        for (int p = 0; p < PARTS; ++p)
#pragma unroll
            for (int i = 0; i < B_COUNT; ++i) {
                const int k = B_ALONG_K ? slice_k() : slice_depth(i);
                const int column = B_ALONG_K ? slice_line(i) : slice_column();
                b[(p * BLOCK_K + k) * B_LINE + column] = next_b[p][i];
            }
    };

    fetch(0);
    deposit(0);
    chip::block_barrier();
    int buffer = 0;
    for (int k0 = 0; k0 < depth; k0 += BLOCK_K) {
        const bool more = k0 + BLOCK_K < depth;
        if (more) fetch(k0 + BLOCK_K);
        const float* a = shared.a + buffer * BLOCK_K * A_LINE + thread_row;
        const float* b = shared.b + buffer * PARTS * BLOCK_K * B_LINE + thread_column;
#pragma unroll
        for (int k = 0; k < BLOCK_K; ++k) {
            float left[THREAD_M];
#pragma unroll
            for (int i = 0; i < THREAD_M; ++i) left[i] = a[k * A_LINE + i];
#pragma unroll
            for (int p = 0; p < PARTS; ++p)
#pragma unroll
                for (int j = 0; j < THREAD_N; ++j) {
                    const float right = b[(p * BLOCK_K + k) * B_LINE + j];
#pragma unroll
                    for (int i = 0; i < THREAD_M; ++i) sum[p][i][j] += left[i] * right;
                }
        }
        buffer ^= 1;
        if (more) deposit(buffer);
        chip::block_barrier();
    }
}

// activation: the ragged layout of work.cuh; x [T, H]; gate_up [sum of 2 * P_e, H] and P_e as in weights.py; row_token
// int32[R]; expert_offsets int32[E + 1]; width_offsets int64[E + 1], prefix sums of P_e; widths int32[E], W_e.
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS_PER_SM)
    tile_fc1(Element* activation, const Element* x, const Element* gate_up, const int* row_token,
             const int* expert_offsets, const long long* width_offsets, const int* widths, const int* work_expert,
             const int* work_row, const int* work_column, const int* work_count, int hidden, int most_stride) {
    float* memory = chip::dynamic_shared<float>();
    const Buffers shared{memory, memory + 2 * BLOCK_K * (BLOCK_M + PAD)};
    const WorkList work{work_expert, work_row, work_column};
    const int count = *work_count;
    for (int entry = blockIdx.x; entry < count; entry += gridDim.x) {
        const Tile tile = read_tile(work, entry, BLOCK_M, expert_offsets, width_offsets, widths, most_stride);
        int token[A_COUNT];  // -1: no row there
#pragma unroll
        for (int i = 0; i < A_COUNT; ++i)
            token[i] = slice_line(i) < tile.rows ? row_token[tile.first_row + slice_line(i)] : -1;
        const Element* weights = gate_up + 2 * tile.width_offset * hidden;

        float sum[2][THREAD_M][THREAD_N] = {};
        multiply<2, true>(
            hidden, shared,
            [&](int i, int k0) {
                const int k = k0 + slice_k();
                if (token[i] < 0 || k >= hidden) return 0.0f;
                return chip::to_float(x[static_cast<long long>(token[i]) * hidden + k]);
            },
            [&](int part, int i, int k0) {
                const int k = k0 + slice_k();
                const unsigned column = tile.column * BLOCK_N + slice_line(i);
                if (column >= tile.width || k >= hidden) return 0.0f;
                const int row = column + column / 8 * 8 + part * 8;
                return chip::to_float(weights[row * hidden + k]);
            },
            sum);

#pragma unroll
        for (int i = 0; i < THREAD_M; ++i) {
            const int row = threadIdx.x / THREADS_N * THREAD_M + i;
            if (row >= tile.rows) continue;
            Element* out = activation + tile.activation + row * tile.stride;
#pragma unroll
            for (int j = 0; j < THREAD_N; ++j) {
                const int column = tile.column * BLOCK_N + threadIdx.x % THREADS_N * THREAD_N + j;
                if (column < tile.stride) out[column] = chip::from_float<Element>(swiglu(sum[0][i][j], sum[1][i][j]));
            }
        }
    }
}

// rows [R, H] in plan order; activation as fc1 left it; down_t [sum of P_e, H].
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS_PER_SM)
    tile_fc2(Element* rows, const Element* activation, const Element* down_t, const int* expert_offsets,
             const long long* width_offsets, const int* widths, const int* work_expert, const int* work_row,
             const int* work_column, const int* work_count, int hidden, int most_stride) {
    float* memory = chip::dynamic_shared<float>();
    const Buffers shared{memory, memory + 2 * BLOCK_K * (BLOCK_M + PAD)};
    const WorkList work{work_expert, work_row, work_column};
    const int count = *work_count;
    for (int entry = blockIdx.x; entry < count; entry += gridDim.x) {
        const Tile tile = read_tile(work, entry, BLOCK_M, expert_offsets, width_offsets, widths, most_stride);
        const Element* left = activation + tile.activation;
        const Element* weights = down_t + tile.width_offset * hidden;

        float sum[1][THREAD_M][THREAD_N] = {};
        multiply<1, false>(
            tile.width, shared,
            [&](int i, int k0) {
                const int k = k0 + slice_k();
                if (slice_line(i) >= tile.rows || k >= tile.width) return 0.0f;
                return chip::to_float(left[slice_line(i) * tile.stride + k]);
            },
            [&](int, int i, int k0) {
                const int k = k0 + slice_depth(i);
                const int column = tile.column * BLOCK_N + slice_column();
                if (k >= tile.width || column >= hidden) return 0.0f;
                return chip::to_float(weights[k * hidden + column]);
            },
            sum);

#pragma unroll
        for (int i = 0; i < THREAD_M; ++i) {
            const int row = threadIdx.x / THREADS_N * THREAD_M + i;
            if (row >= tile.rows) continue;
            Element* out = rows + static_cast<long long>(tile.first_row + row) * hidden;
#pragma unroll
            for (int j = 0; j < THREAD_N; ++j) {
                const int column = tile.column * BLOCK_N + threadIdx.x % THREADS_N * THREAD_N + j;
                if (column < hidden) out[column] = chip::from_float<Element>(sum[0][i][j]);
            }
        }
    }
}
