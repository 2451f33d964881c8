// What versions 3 and 4 share: tiles whose rows are wgmma's A and whose weights are its B, in stages of ring.cuh: what
// fills them, what multiplies them, and the stores of finished rows.
//
// A stage holds BLOCK_M lines of A and BLOCK_N lines of gate and up (fc1), or LINE lines for each 64 columns of down
// (fc2). As gate and up alternate in blocks of 8 rows, a thread's sums of columns 16 j to 16 j + 7 are gates and the
// next eight the ups of the same elements.
#pragma once

constexpr int CONSUMERS = 2;
constexpr int A_ELEMENTS = BLOCK_M * 64;
constexpr int B_ELEMENTS = BLOCK_N * 64;

#include "ring.cuh"

constexpr int A_BYTES = A_ELEMENTS * 2;
// Stages of gathered rows in flight before the oldest is waited for; see Arrivals.
constexpr int LAG = STAGES < 4 ? STAGES - 2 : 2;
// The three warpgroups share 65536 registers: 128 * (72 + 2 * 216) = 128 * (104 + 2 * 200) = 64512. A producer keeps
// the token of every row it gathers.
constexpr int PRODUCER_REGISTERS = BLOCK_M == 128 ? 72 : 104;
constexpr int CONSUMER_REGISTERS = BLOCK_M == 128 ? 216 : 200;

// ---- the producer

using Rows = Gather<BLOCK_M, chip::WARPGROUP>;

// Who fills stages.
struct Producer {
    Ring ring;
    Place place;  // filled next
    Arrivals<LAG> arrivals;

    // fc1, all threads of the group: rows of x by cp.async, COLUMNS lines of gate and up from `first_line` on by TMA,
    // in boxes of BOX lines.
    template <int COLUMNS, int BOX>
    __device__ __forceinline__ void fill_gathered(const Rows& rows, const Element* x, const chip::TensorMap* weights,
                                                  int first_line, int hidden) {
        for (int k = 0; k < hidden; k += LINE) {
            wait_until_empty(ring, place);
            chip::Barrier* full = ring.full + place.stage;
            if (group_thread() == 0) {
                chip::barrier_arrive_expect(full, COLUMNS * LINE * 2);
#pragma unroll
                for (int line = 0; line < COLUMNS; line += BOX)
                    chip::tma_load_2d(ring.b(place.stage) + line * LINE, weights, full, k, first_line + line);
            }
            rows.copy(ring.a(place.stage), x, k, hidden);
            arrivals.started(ring);
            place.next();
        }
    }

    __device__ __forceinline__ void finish_gathered() { arrivals.finish(ring); }

    // fc2, one thread: BLOCK_M rows of the activation and COLUMNS columns of down, both by TMA. `line` is the expert's
    // first in the packed weights.
    template <int COLUMNS>
    __device__ __forceinline__ void fill(const chip::TensorMap* activation, int first_row,
                                         const chip::TensorMap* weights, long long line, int first_column, int width) {
        for (int k = 0; k < width; k += LINE) {
            wait_until_empty(ring, place);
            chip::Barrier* full = ring.full + place.stage;
            chip::barrier_arrive_expect(full, A_BYTES + COLUMNS * LINE * 2);
            chip::tma_load_2d(ring.a(place.stage), activation, full, k, first_row);
#pragma unroll
            for (int block = 0; block < COLUMNS / LINE; ++block) {
                chip::tma_load_2d(ring.b(place.stage) + block * LINE * LINE, weights, full,
                                  first_column + block * LINE, static_cast<int>(line) + k);
            }
            place.next();
        }
    }
};

// ---- the consumers

// BLOCK_M rows as A, from `first_line` on, and weights as B.
template <bool WEIGHTS_BY_COLUMNS>
struct RowsTimesWeights {
    static constexpr bool A_BY_COLUMNS = false, B_BY_COLUMNS = WEIGHTS_BY_COLUMNS;
    int first_line;
    __device__ __forceinline__ unsigned long long a(const Ring& ring, int stage, int i, int k) const {
        return chip::matrix_by_lines(ring.a(stage) + (first_line + i * 64) * LINE + k);
    }
    __device__ __forceinline__ unsigned long long b(const Ring& ring, int stage, int k) const {
        return B_BY_COLUMNS ? chip::matrix_by_columns(ring.b(stage) + k * LINE, LINE * LINE * 2)
                            : chip::matrix_by_lines(ring.b(stage) + k);
    }
};

// ---- finished rows

// Stores GROUPS groups of 8 columns of one row, each in one 16-byte store. pair(j) gives this lane's pair of group j;
// `columns` of the row, in eights, exist. All lanes of the warp take part, whether or not they have a row.
template <int GROUPS, class Pair>
__device__ __forceinline__ void store_row(Element* row, bool exists, int columns, const Pair& pair) {
#pragma unroll
    for (int first = 0; first < GROUPS; first += 4) {
        unsigned four[4] = {pair(first), pair(first + 1), pair(first + 2), pair(first + 3)};
        gather_group(four);
        const int column = (first + threadIdx.x % 4) * 8;
        if (exists && column < columns)
            chip::store_16(row + column, four);
    }
}

// The rows of a tile in a warpgroup's sums: line 64 i + 8 half + this thread's own, from `first_line` on.
__device__ __forceinline__ int sum_line(int first_line, int i, int half) {
    return first_line + i * 64 + group_thread() / chip::WARP * 16 + half * 8 + threadIdx.x % chip::WARP / 4;
}

// fc1: SwiGLU of the sums, N / 2 columns from `first_column` on.
template <int M, int N>
__device__ __forceinline__ void store_activation(Element* activation, const Tile& tile, int first_line,
                                                 int first_column, int most_stride, const float (&sum)[M][N / 2]) {
#pragma unroll
    for (int i = 0; i < M; ++i)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int line = sum_line(first_line, i, half);
            Element* row = activation + static_cast<long long>(tile.first_row + line) * most_stride + first_column;
            store_row<N / 16>(row, line < tile.rows, tile.width - first_column, [&](int j) {
                const float* gate = sum[i] + 8 * j + 2 * half;
                const float* up = gate + 4;
                return chip::pack_pair<Element>(swiglu(gate[0], up[0]), swiglu(gate[1], up[1]));
            });
        }
}

// fc2: N columns of the sums from `first_column` on.
template <int M, int N>
__device__ __forceinline__ void store_rows(Element* rows, const Tile& tile, int first_line, int first_column,
                                           int hidden, const float (&sum)[M][N / 2]) {
#pragma unroll
    for (int i = 0; i < M; ++i)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int line = sum_line(first_line, i, half);
            Element* row = rows + static_cast<long long>(tile.first_row + line) * hidden + first_column;
            store_row<N / 8>(row, line < tile.rows, hidden - first_column, [&](int j) {
                return chip::pack_pair<Element>(sum[i][4 * j + 2 * half], sum[i][4 * j + 2 * half + 1]);
            });
        }
}
