// What all Hopper versions share: a ring of shared-memory stages between a producer warpgroup and CONSUMERS consumer
// warpgroups, the copies of gathered rows to it, the products that empty it, and a step towards stores of 16 bytes.
//
// A stage is LINE = 64 elements deep and holds both operands of wgmma, A_ELEMENTS and then B_ELEMENTS, every line 128
// bytes under the 128-byte swizzle. Two mbarriers a stage: `full` completes when its operands are there, `empty` when
// all consumer warps have finished reading it.
//
// Weights are laid out by weights.py: every expert's width is padded to whole stages with zero rows, so nothing is
// masked along W; the zeros it adds to the activation and to fc2's sums are exact. gate and up alternate in blocks of 8
// rows.
//
// Activation layout: row r of the plan at r * most_stride, whatever the width, so that one tensor map reaches them all.
//
// Who includes this defines Element, STAGES, CONSUMERS, A_ELEMENTS and B_ELEMENTS before.
#pragma once

constexpr int THREADS = chip::WARPGROUP * (1 + CONSUMERS);
constexpr int LINE = 64;
constexpr int CHUNK = 8;  // elements of 16 bytes
constexpr int STAGE_ELEMENTS = A_ELEMENTS + B_ELEMENTS;

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

// ---- producers

__device__ __forceinline__ void wait_until_empty(const Ring& ring, const Place& place) {
    chip::barrier_wait(ring.empty + place.stage, place.phase ^ 1);
}

// The rows of a tile that one of COPIERS threads gathers from x: a fixed chunk of lines copier / 8, that + COPIERS / 8,
// and so on, of LINES lines.
template <int LINES, int COPIERS>
struct Gather {
    static constexpr int COUNT = LINES * (LINE / CHUNK) / COPIERS;
    static constexpr int STEP = COPIERS / (LINE / CHUNK);
    static_assert(COUNT >= 1 && STEP % 8 == 0, "a thread's chunk has one place in all its lines");
    int copier;
    int token[COUNT];  // -1: no row there

    __device__ __forceinline__ Gather(const Tile& tile, const int* row_token, int copier) : copier(copier) {
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            const int line = copier / 8 + i * STEP;
            token[i] = line < tile.rows ? row_token[tile.first_row + line] : -1;
        }
    }

    // Starts copying elements k to k + LINE - 1 of every row, or zeros where there is no row or no such element.
    __device__ __forceinline__ void copy(Element* lines, const Element* x, int k, int hidden) const {
        const int line = copier / 8;
        const int chunk = copier % 8;
        Element* place = lines + line * LINE + (chunk ^ line % 8) * CHUNK;
        const int element = k + chunk * CHUNK;
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            const bool inside = token[i] >= 0 && element < hidden;
            const long long at = static_cast<long long>(token[i]) * hidden + element;
            chip::cp_async_16(place + i * STEP * LINE, x + (inside ? at : 0), inside ? 16 : 0);
        }
    }
};

// One thread's arrivals at the stages it fills by cp.async, LAG stages after it started their copies: it waits for its
// own copies, makes them known to wgmma and only then arrives. A consumer gives a stage back only when it has the next
// one, so two stages must be neither in flight nor waited for by the producer: a LAG above STAGES - 2 would stop both.
template <int LAG>
struct Arrivals {
    static_assert(LAG <= STAGES - 2);
    Place place;  // whose copies are waited for next
    int under_way = 0;

    __device__ __forceinline__ void started(const Ring& ring) {
        chip::cp_async_commit();
        if (++under_way > LAG) {
            chip::cp_async_wait<LAG>();
            arrive(ring);
        }
    }

    __device__ __forceinline__ void finish(const Ring& ring) {
        chip::cp_async_wait<0>();
        while (under_way > 0) arrive(ring);
    }

    __device__ __forceinline__ void arrive(const Ring& ring) {
        chip::async_proxy_fence();
        chip::barrier_arrive(ring.full + place.stage);
        place.next();
        --under_way;
    }
};

// ---- consumers

__device__ __forceinline__ void release(const Ring& ring, int stage, int arrivals) {
    if (threadIdx.x % chip::WARP == 0) chip::barrier_arrive(ring.empty + stage, arrivals);
}

// Starts the products of one stage, once it is full: sum += A . B, or sum = A . B for a FIRST one. `operands` gives the
// descriptors of 16 of k: a(ring, stage, i, k) of the i-th 64 lines of A, b(ring, stage, k); and how they lie.
template <bool FIRST, int M, int N, class Operands>
__device__ __forceinline__ void multiply_stage(const Ring& ring, const Place& place, const Operands& operands,
                                               float (&sum)[M][N / 2]) {
    constexpr bool A = Operands::A_BY_COLUMNS, B = Operands::B_BY_COLUMNS;
    chip::barrier_wait(ring.full + place.stage, place.phase);
    chip::wgmma_fence();
#pragma unroll
    for (int k = 0; k < LINE; k += 16) {
        const unsigned long long right = operands.b(ring, place.stage, k);
#pragma unroll
        for (int i = 0; i < M; ++i) {
            const unsigned long long left = operands.a(ring, place.stage, i, k);
            if (FIRST && k == 0)
                chip::wgmma_first<Element, N, B, A>(sum[i], left, right);
            else
                chip::wgmma<Element, N, B, A>(sum[i], left, right);
        }
    }
    chip::wgmma_commit();
}

// sum = A . B over `steps` stages, at least one, for this warpgroup: M times 64 lines of A and N columns of B. A stage
// is given back, with `arrivals` a warp, when the products after it have been started.
template <int M, int N, class Operands>
__device__ __forceinline__ void multiply(const Ring& ring, Place& place, int steps, int arrivals,
                                         const Operands& operands, float (&sum)[M][N / 2]) {
    multiply_stage<true, M, N>(ring, place, operands, sum);
    int before = place.stage;
    place.next();
    for (int step = 1; step < steps; ++step) {
        multiply_stage<false, M, N>(ring, place, operands, sum);
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
