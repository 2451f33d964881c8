// What both Hopper versions share: a ring of shared-memory stages between a producer warpgroup and two consumer
// warpgroups, what fills it, the products that empty it, and the stores of finished rows.
//
// A stage is LINE = 64 elements deep: BLOCK_M lines of A and BLOCK_N lines of gate and up (fc1), or LINE lines for each
// 64 columns of down (fc2), every line 128 bytes under the 128-byte swizzle. Two mbarriers a stage: `full` completes
// when its operands are there, `empty` when all eight consumer warps have finished reading it.
//
// Weights are laid out by weights.py: every expert's width is padded to whole stages with zero rows, so nothing is
// masked along W; the zeros it adds to the activation and to fc2's sums are exact. gate and up alternate in blocks of 8
// rows, so a thread's sums of columns 16 j to 16 j + 7 are gates and the next eight the ups of the same elements.
//
// Activation layout: row r of the plan at r * most_stride, whatever the width, so that one tensor map reaches them all.
#pragma once

constexpr int CONSUMERS = 2;
constexpr int THREADS = chip::WARPGROUP * (1 + CONSUMERS);
constexpr int LINE = 64;
constexpr int CHUNK = 8;  // elements of 16 bytes
constexpr int A_ELEMENTS = BLOCK_M * LINE;
constexpr int STAGE_ELEMENTS = A_ELEMENTS + BLOCK_N * LINE;
constexpr int A_BYTES = A_ELEMENTS * 2;
// Stages of gathered rows in flight before the oldest is waited for. A consumer gives a stage back only when it has the
// next one, so two stages must be neither in flight nor waited for by the producer: more would stop both.
constexpr int LAG = STAGES < 4 ? STAGES - 2 : 2;
// The three warpgroups share 65536 registers: 128 * (72 + 2 * 216) = 128 * (104 + 2 * 200) = 64512. A producer keeps
// the token of every row it gathers.
constexpr int PRODUCER_REGISTERS = BLOCK_M == 128 ? 72 : 104;
constexpr int CONSUMER_REGISTERS = BLOCK_M == 128 ? 216 : 200;

__device__ __forceinline__ int warpgroup_index() { return threadIdx.x / chip::WARPGROUP; }  // 0 produces
__device__ __forceinline__ int group_thread() { return threadIdx.x % chip::WARPGROUP; }

// A place in the ring, and how often it has come round.
struct Place {
    int stage = 0;
    unsigned phase = 0;
    __device__ __forceinline__ void advance(int stages = 1) {
        stage += stages;
        phase ^= stage / STAGES & 1;
        stage %= STAGES;
    }
    __device__ __forceinline__ void next() {
        if (++stage < STAGES) return;
        stage = 0;
        phase ^= 1;
    }
};

struct Ring {
    Element* stages;       // [STAGES][STAGE_ELEMENTS]
    chip::Barrier* full;   // [STAGES]
    chip::Barrier* empty;  // [STAGES]
    __device__ __forceinline__ Element* a(int stage) const { return stages + stage * STAGE_ELEMENTS; }
    __device__ __forceinline__ Element* b(int stage) const { return a(stage) + A_ELEMENTS; }
};

// By all threads: the ring of this block, in dynamic shared memory. `producers` arrivals fill a stage.
__device__ __forceinline__ Ring make_ring(int producers) {
    Element* memory = chip::dynamic_shared<Element>();
    chip::Barrier* barriers = reinterpret_cast<chip::Barrier*>(memory + STAGES * STAGE_ELEMENTS);
    const Ring ring{memory, barriers, barriers + STAGES};
    if (threadIdx.x == 0) {
        for (int stage = 0; stage < STAGES; ++stage) {
            chip::barrier_init(ring.full + stage, producers);
            chip::barrier_init(ring.empty + stage, CONSUMERS * chip::WARPGROUP / chip::WARP);
        }
        chip::barrier_init_fence();
    }
    chip::block_barrier();
    return ring;
}

// ---- the producer

// One producer thread's rows of A, gathered from x: a fixed chunk of lines thread / 8, that + 16, and so on.
struct Gather {
    static constexpr int COUNT = BLOCK_M * (LINE / CHUNK) / chip::WARPGROUP;
    static constexpr int STEP = BLOCK_M / COUNT;
    int token[COUNT];  // -1: no row there

    __device__ __forceinline__ Gather(const Tile& tile, const int* row_token) {
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            const int line = group_thread() / 8 + i * STEP;
            token[i] = line < tile.rows ? row_token[tile.first_row + line] : -1;
        }
    }

    // Starts copying elements k to k + LINE - 1 of every row, or zeros where there is no row or no such element.
    __device__ __forceinline__ void copy(Element* a, const Element* x, int k, int hidden) const {
        const int line = group_thread() / 8;
        const int chunk = group_thread() % 8;
        Element* place = a + line * LINE + (chunk ^ line % 8) * CHUNK;
        const int element = k + chunk * CHUNK;
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            const bool inside = token[i] >= 0 && element < hidden;
            const long long at = static_cast<long long>(token[i]) * hidden + element;
            chip::cp_async_16(place + i * STEP * LINE, x + (inside ? at : 0), inside ? 16 : 0);
        }
    }
};

// Who fills stages. The gathered rows of a stage arrive LAG stages after they were asked for: a thread waits for its
// own copies, makes them known to wgmma and only then arrives.
struct Producer {
    Ring ring;
    Place place;      // filled next
    Place arriving;   // whose copies are waited for next
    int under_way = 0;

    __device__ __forceinline__ void wait_until_empty() const {
        chip::barrier_wait(ring.empty + place.stage, place.phase ^ 1);
    }

    __device__ __forceinline__ void arrive_oldest() {
        chip::async_proxy_fence();
        chip::barrier_arrive(ring.full + arriving.stage);
        arriving.next();
        --under_way;
    }

    // fc1, all threads of the group: rows of x by cp.async, COLUMNS lines of gate and up from `first_line` on by TMA,
    // in boxes of BOX lines.
    template <int COLUMNS, int BOX>
    __device__ __forceinline__ void fill_gathered(const Gather& rows, const Element* x, const chip::TensorMap* weights,
                                                  int first_line, int hidden) {
        for (int k = 0; k < hidden; k += LINE) {
            wait_until_empty();
            chip::Barrier* full = ring.full + place.stage;
            if (group_thread() == 0) {
                chip::barrier_arrive_expect(full, COLUMNS * LINE * 2);
#pragma unroll
                for (int line = 0; line < COLUMNS; line += BOX)
                    chip::tma_load_2d(ring.b(place.stage) + line * LINE, weights, full, k, first_line + line);
            }
            rows.copy(ring.a(place.stage), x, k, hidden);
            chip::cp_async_commit();
            place.next();
            if (++under_way > LAG) {
                chip::cp_async_wait<LAG>();
                arrive_oldest();
            }
        }
    }

    __device__ __forceinline__ void finish_gathered() {
        chip::cp_async_wait<0>();
        while (under_way > 0) arrive_oldest();
    }

    // fc2, one thread: BLOCK_M rows of the activation and COLUMNS columns of down, both by TMA. `line` is the expert's
    // first in the packed weights.
    template <int COLUMNS>
    __device__ __forceinline__ void fill(const chip::TensorMap* activation, int first_row,
                                         const chip::TensorMap* weights, long long line, int first_column, int width) {
        for (int k = 0; k < width; k += LINE) {
            wait_until_empty();
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

__device__ __forceinline__ void release(const Ring& ring, int stage, int arrivals) {
    if (threadIdx.x % chip::WARP == 0) chip::barrier_arrive(ring.empty + stage, arrivals);
}

// Starts the products of one stage, once it is full: sum += A . B, or sum = A . B for a FIRST one.
template <bool FIRST, bool B_BY_COLUMNS, int M, int N>
__device__ __forceinline__ void multiply_stage(const Ring& ring, const Place& place, int first_line,
                                               float (&sum)[M][N / 2]) {
    chip::barrier_wait(ring.full + place.stage, place.phase);
    const Element* a = ring.a(place.stage) + first_line * LINE;
    const Element* b = ring.b(place.stage);
    chip::wgmma_fence();
#pragma unroll
    for (int k = 0; k < LINE; k += 16) {
        const unsigned long long right = B_BY_COLUMNS ? chip::matrix_by_columns(b + k * LINE, LINE * LINE * 2)
                                                      : chip::matrix_by_lines(b + k);
#pragma unroll
        for (int i = 0; i < M; ++i) {
            const unsigned long long left = chip::matrix_by_lines(a + i * 64 * LINE + k);
            if (FIRST && k == 0)
                chip::wgmma_first<Element, N, B_BY_COLUMNS>(sum[i], left, right);
            else
                chip::wgmma<Element, N, B_BY_COLUMNS>(sum[i], left, right);
        }
    }
    chip::wgmma_commit();
}

// sum = A . B over `steps` stages, at least one, for this warpgroup: M times 64 lines of A from `first_line` on, N
// columns. A stage is given back, with `arrivals` a warp, when the products after it have been started.
template <bool B_BY_COLUMNS, int M, int N>
__device__ __forceinline__ void multiply(const Ring& ring, Place& place, int steps, int first_line, int arrivals,
                                         float (&sum)[M][N / 2]) {
    multiply_stage<true, B_BY_COLUMNS, M, N>(ring, place, first_line, sum);
    int before = place.stage;
    place.next();
    for (int step = 1; step < steps; ++step) {
        multiply_stage<false, B_BY_COLUMNS, M, N>(ring, place, first_line, sum);
        chip::wgmma_wait<1>();
        release(ring, before, arrivals);
        before = place.stage;
        place.next();
    }
    chip::wgmma_wait<0>();
#pragma unroll
    for (int i = 0; i < M; ++i) chip::wgmma_finished(sum[i]);
    release(ring, before, arrivals);
}

// ---- finished rows

// Lane q of four holds pairs (columns 8 j + 2 q, + 1) of four column groups j; afterwards all of group q, in order.
__device__ __forceinline__ void gather_group(unsigned (&pair)[4]) {
#pragma unroll
    for (int mask = 1; mask <= 2; mask *= 2) {
        const bool upper = threadIdx.x & mask;
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            if (j & mask) continue;
            const unsigned other = chip::shuffle_xor(upper ? pair[j] : pair[j + mask], mask);
            (upper ? pair[j] : pair[j + mask]) = other;
        }
    }
}

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
