// The tensor-core main loop both GEMMs of mma.cu share: swizzled operand slices in shared memory, the multi-stage
// cp.async pipeline, and one warp's share of the products.
//
// A slice is a [LINES][LENGTH] array of 16-bit elements, moved in chunks of 8 (16 bytes). Chunk c of line l is stored
// at place c XOR (a value that depends on l), so that the eight addresses of an ldmatrix phase (eight lines, same
// chunk) fall in eight different 16-byte banks, and so do the writes of cp.async.
#pragma once

constexpr int CHUNK = 8;
constexpr int WARPS = WARPS_M * WARPS_N;
constexpr int THREADS = 32 * WARPS;
constexpr int WARP_M = BLOCK_M / WARPS_M;
constexpr int WARP_N = BLOCK_N / WARPS_N;
constexpr int M_TILES = WARP_M / 16;
constexpr int N_TILES = WARP_N / 8;
constexpr int A_ELEMENTS = BLOCK_M * BLOCK_K;
constexpr int STAGE_ELEMENTS = A_ELEMENTS + BLOCK_N * BLOCK_K;

// Element offset of a chunk in a slice whose lines hold LENGTH elements.
template <int LENGTH>
__device__ __forceinline__ int chunk_offset(unsigned line, unsigned chunk) {
    constexpr unsigned CHUNKS = LENGTH / CHUNK;
    constexpr unsigned LINES_PER_128_BYTES = CHUNKS < 8 ? 8 / CHUNKS : 1;
    constexpr unsigned TURNS = CHUNKS < 8 ? CHUNKS : 8;
    return line * LENGTH + (chunk ^ (line / LINES_PER_128_BYTES % TURNS)) * CHUNK;
}

// A thread's share of a [LINES][LENGTH] slice: COUNT chunks, all at the same place of their lines, neighbouring threads
// along a line. Unsigned arithmetic: it lets the compiler see what is the same for all of a thread's chunks.
template <int LINES, int LENGTH>
struct Share {
    static constexpr int CHUNKS = LENGTH / CHUNK;
    static constexpr int STEP = THREADS / CHUNKS;
    static constexpr int COUNT = (LINES + STEP - 1) / STEP;
    static __device__ __forceinline__ int line(int i) { return threadIdx.x / CHUNKS + i * STEP; }
    static __device__ __forceinline__ int first_element() { return threadIdx.x % CHUNKS * CHUNK; }
    static __device__ __forceinline__ bool mine(int i) { return LINES % STEP == 0 || line(i) < LINES; }

    // Starts copying chunk i of the slice from operand + at, or zeros where that lies outside the operand.
    static __device__ __forceinline__ void copy(Element* slice, int i, const Element* operand, long long at,
                                                bool inside) {
        if (!mine(i)) return;
        Element* place = slice + chunk_offset<LENGTH>(line(i), threadIdx.x % CHUNKS);
        chip::cp_async_16(place, operand + (inside ? at : 0), inside ? 16 : 0);
    }
};

using ShareA = Share<BLOCK_M, BLOCK_K>;

// sum[i][j] += A . B for this warp's 16 x 8 tiles over one stage. B_ALONG_K: B's lines are columns of the product
// (contiguous along k); otherwise they are k (contiguous along the columns), and ldmatrix transposes.
template <bool B_ALONG_K>
__device__ __forceinline__ void multiply_stage(const Element* a, const Element* b,
                                               float (&sum)[M_TILES][N_TILES][4]) {
    const unsigned lane = threadIdx.x % 32;
    const unsigned warp = threadIdx.x / 32;
    const unsigned first_row = warp / WARPS_N * WARP_M;
    const unsigned first_column = warp % WARPS_N * WARP_N;
#pragma unroll
    for (int k = 0; k < BLOCK_K; k += 16) {
        unsigned left[M_TILES][4];
#pragma unroll
        for (int i = 0; i < M_TILES; ++i) {
            const unsigned line = first_row + i * 16 + lane % 16;
            chip::ldmatrix_x4(left[i], a + chunk_offset<BLOCK_K>(line, k / CHUNK + lane / 16));
        }
#pragma unroll
        for (int j = 0; j < N_TILES; j += 2) {  // four 8 x 8 matrices: (columns 0-7, 8-15) x (k 0-7, 8-15)
            unsigned four[4];
            const unsigned column = first_column + j * 8;
            if (B_ALONG_K) {
                const unsigned line = column + lane / 16 * 8 + lane % 8;
                chip::ldmatrix_x4(four, b + chunk_offset<BLOCK_K>(line, k / CHUNK + lane / 8 % 2));
            } else {
                const unsigned line = k + lane / 8 % 2 * 8 + lane % 8;
                chip::ldmatrix_x4_trans(four, b + chunk_offset<BLOCK_N>(line, column / CHUNK + lane / 16));
            }
            const unsigned right[2][2] = {{four[0], four[1]}, {four[2], four[3]}};
#pragma unroll
            for (int i = 0; i < M_TILES; ++i) {
                chip::mma_m16n8k16<Element>(sum[i][j], left[i], right[0]);
                chip::mma_m16n8k16<Element>(sum[i][j + 1], left[i], right[1]);
            }
        }
    }
}

// The products of a whole tile over `depth` elements. load(step, a, b) issues the cp.async copies of slice `step`.
// Ends with a barrier, so that the next tile may overwrite every stage.
template <bool B_ALONG_K, class Load>
__device__ __forceinline__ void multiply(int depth, Element* memory, const Load& load,
                                         float (&sum)[M_TILES][N_TILES][4]) {
    const int steps = (depth + BLOCK_K - 1) / BLOCK_K;
#pragma unroll
    for (int step = 0; step < STAGES - 1; ++step) {
        if (step < steps) load(step, memory + step * STAGE_ELEMENTS, memory + step * STAGE_ELEMENTS + A_ELEMENTS);
        chip::cp_async_commit();  // also when empty: the wait below counts groups
    }
    int reading = 0;
    for (int step = 0; step < steps; ++step) {
        chip::cp_async_wait<STAGES - 2>();
        chip::block_barrier();  // slice `step` is here for all, and all have finished with the stage written next
        if (step + STAGES - 1 < steps) {
            Element* stage = memory + (reading == 0 ? STAGES - 1 : reading - 1) * STAGE_ELEMENTS;
            load(step + STAGES - 1, stage, stage + A_ELEMENTS);
        }
        chip::cp_async_commit();
        const Element* stage = memory + reading * STAGE_ELEMENTS;
        multiply_stage<B_ALONG_K>(stage, stage + A_ELEMENTS, sum);
        reading = reading + 1 == STAGES ? 0 : reading + 1;
    }
    chip::block_barrier();
}

// Where element (i, j, pair) of a warp's accumulators lies in the block's tile: a thread holds columns c and c + 1 of
// rows r and r + 8 of every 16 x 8 tile.
__device__ __forceinline__ int accumulator_row(int i, int half) {
    return threadIdx.x / 32 / WARPS_N * WARP_M + i * 16 + half * 8 + threadIdx.x % 32 / 4;
}
__device__ __forceinline__ int accumulator_column(int j) {
    return threadIdx.x / 32 % WARPS_N * WARP_N + j * 8 + threadIdx.x % 4 * 2;
}

// Two neighbouring elements in one 4-byte store; `out` is 4-byte aligned.
__device__ __forceinline__ void store_pair(Element* out, float first, float second) {
    chip::store(out, chip::Pack<Element, 2>{chip::from_float<Element>(first), chip::from_float<Element>(second)});
}
