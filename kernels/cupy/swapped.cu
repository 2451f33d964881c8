// Version 5: version 4 with operands swapped, for few rows an expert. float16 and bfloat16 on Hopper (sm_90a), any W, H
// in eights.
//
//   fc1:  activation[r, w] = silu(x[t] . gate_e[w]) * (x[t] . up_e[w])    t = row_token[r], e the expert of row r
//   fc2:  rows[r, h]       = sum over w of activation[r, w] * down_e[h, w]
//
// Floor: the weights, 2 bytes * 3 * H * sum of W_e = 327 MB of mohge-3b, 76 us at 4.3 TB/s, whatever the few rows cost.
// So the kernel is a race for memory: every weight passes through shared memory once, and as many stages as that holds
// are under way at all times.
//
//   - Weights are wgmma's A, 64 lines for each consumer, and rows its B: N is BLOCK_M, which may be as small as 8,
//     where rows as A would be 64 or more. A is gate_up by lines in fc1, and down, which lies transposed, by columns in
//     fc2.
//   - One thread streams the weights by TMA, as far ahead as the ring allows. Other warps bring the rows beside them:
//     fc1 gathers them from x by cp.async, in fc2 one thread copies boxes of the activation. A stage is full when both
//     have.
//   - Blocks stay, and share the list as in version 4. Row tiles of the same weights follow each other in the list, so
//     neighbouring blocks take them at the same time, and all but the first find the weights in L2.
//   - fc2 may start while fc1 still runs, and does not wait before it asks for weights; see swapped_fc2.
//
// Constants given at compile time: ELEMENT, BLOCK_M (rows), BLOCK_N (weight lines), STAGES.
#include <hopper.cuh>

#include "work.cuh"

using Element = ELEMENT;

constexpr int CONSUMERS = BLOCK_N / 64;
constexpr int A_ELEMENTS = BLOCK_N * 64;
constexpr int B_ELEMENTS = BLOCK_M * 64;

#include "ring.cuh"

constexpr int WEIGHT_BYTES = A_ELEMENTS * 2;
constexpr int ROW_BYTES = B_ELEMENTS * 2;
// The producer warpgroup: a thread of its first warp streams weights, the next two warps gather rows (fc1), or one
// thread of them copies their boxes (fc2).
constexpr int FIRST_COPIER = chip::WARP;
constexpr int COPIERS = 2 * chip::WARP;
// Four stages of rows in flight, 64 KiB of weights beside them, are more than x needs to come from L2 in.
constexpr int LAG = STAGES - 2 < 4 ? STAGES - 2 : 4;

// ---- producers

// One thread: the weights of a tile, `steps` stages. copy(to, full, k) starts the boxes of elements k to k + LINE - 1.
template <class Copy>
__device__ __forceinline__ void stream_weights(const Ring& ring, Place& place, int steps, const Copy& copy) {
    for (int step = 0; step < steps; ++step) {
        wait_until_empty(ring, place);
        chip::Barrier* full = ring.full + place.stage;
        chip::barrier_arrive_expect(full, WEIGHT_BYTES);
        copy(ring.a(place.stage), full, step * LINE);
        place.next();
    }
}

// ---- consumers

// 64 of the weight lines for each consumer as A, and all rows as B.
template <bool WEIGHTS_BY_COLUMNS>
struct WeightsTimesRows {
    static constexpr bool A_BY_COLUMNS = WEIGHTS_BY_COLUMNS, B_BY_COLUMNS = false;
    int consumer;
    __device__ __forceinline__ unsigned long long a(const Ring& ring, int stage, int, int k) const {
        const Element* own = ring.a(stage) + consumer * 64 * LINE;  // 64 lines, or lines of 64 columns
        return A_BY_COLUMNS ? chip::matrix_by_columns(own + k * LINE, 64 * LINE * 2) : chip::matrix_by_lines(own + k);
    }
    __device__ __forceinline__ unsigned long long b(const Ring& ring, int stage, int k) const {
        return chip::matrix_by_lines(ring.b(stage) + k);
    }
};

using Sums = float[1][BLOCK_M / 2];

// Stores finished sums of this warp: COLUMNS columns, 8 or 16, of all rows of the tile that exist. `first` is the first
// column of the tile's first row, `columns` of it, in eights, exist. pair(m) gives this lane's place in an 8 x 8 matrix
// of 8 columns by 8 rows, m counting columns first: its column l / 4, rows 2 (l % 4) and that + 1 in one register.
// Transposed, a lane has two neighbouring columns of a row; four matrices exchanged make it eight of them, 16 bytes.
template <int COLUMNS, class Pair>
__device__ __forceinline__ void store_transposed(Element* first, long long stride, int rows, int columns,
                                                 const Pair& pair) {
    constexpr int ACROSS = COLUMNS / 8;
    constexpr int COUNT = BLOCK_M / 8 * ACROSS;
    const int line = threadIdx.x % chip::WARP / 4, quarter = threadIdx.x % 4;
    if constexpr (COUNT % 4 == 0) {
#pragma unroll
        for (int m = 0; m < COUNT; m += 4) {
            if (m / ACROSS * 8 >= rows) break;  // the same in all lanes
            unsigned four[4] = {chip::transpose_8x8(pair(m)), chip::transpose_8x8(pair(m + 1)),
                                chip::transpose_8x8(pair(m + 2)), chip::transpose_8x8(pair(m + 3))};
            gather_group(four);
            const int row = (m + quarter) / ACROSS * 8 + line, column = (m + quarter) % ACROSS * 8;
            if (row < rows && column < columns) chip::store_16(first + row * stride + column, four);
        }
    } else {
#pragma unroll
        for (int m = 0; m < COUNT; ++m) {
            const unsigned two = chip::transpose_8x8(pair(m));
            const int row = m / ACROSS * 8 + line, column = m % ACROSS * 8;
            if (row < rows && column < columns)
                chip::store(reinterpret_cast<unsigned*>(first + row * stride + column) + quarter,
                            chip::Pack<unsigned, 1>{two});
        }
    }
}

// activation [R, most_stride]; x [T, H]; gate_up: boxes of BLOCK_N x 64 of the weights [sum of 2 * P_e, H]; row_token
// int32[R]; expert_offsets int32[E + 1]; width_offsets int64[E + 1], prefix sums of P_e; widths int32[E], P_e.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    swapped_fc1(Element* activation, const Element* x, const __grid_constant__ chip::TensorMap gate_up,
                const int* row_token, const int* expert_offsets, const long long* width_offsets, const int* widths,
                const int* work_expert, const int* work_row, const int* work_column, const int* work_count, int hidden,
                int most_stride) {
    const Ring ring = make_ring(1 + COPIERS);
    chip::previous_grid_wait();   // the work list comes from the grid before
    chip::next_grid_may_start();  // and not earlier: fc2 relies on it
    const WorkList work{work_expert, work_row, work_column};
    const int count = *work_count;
    const int steps = (hidden + LINE - 1) / LINE;
    const auto tile_of = [&](int entry) {
        return read_tile(work, entry, BLOCK_M, expert_offsets, width_offsets, widths, most_stride);
    };
    Place place;
    if (threadIdx.x < chip::WARP) {
        if (threadIdx.x != 0) return;
        chip::prefetch_tensor_map(&gate_up);
        for (int round = 0, entry = entry_of(0); entry < count; entry = entry_of(++round)) {
            const Tile tile = tile_of(entry);
            const int first_line = static_cast<int>(2 * tile.width_offset) + tile.column * BLOCK_N;
            stream_weights(ring, place, steps, [&](Element* to, chip::Barrier* full, int k) {
                chip::tma_load_2d(to, &gate_up, full, k, first_line);
            });
        }
    } else if (warpgroup_index() == 0) {
        const int copier = group_thread() - FIRST_COPIER;
        if (copier < 0 || copier >= COPIERS) return;
        Arrivals<LAG> arrivals;
        for (int round = 0, entry = entry_of(0); entry < count; entry = entry_of(++round)) {
            const Gather<BLOCK_M, COPIERS> rows(tile_of(entry), row_token, copier);
            for (int k = 0; k < hidden; k += LINE) {
                wait_until_empty(ring, place);
                rows.copy(ring.b(place.stage), x, k, hidden);
                arrivals.started(ring);
                place.next();
            }
        }
        arrivals.finish(ring);
    } else {
        const WeightsTimesRows<false> operands{warpgroup_index() - 1};
        const int warp = group_thread() / chip::WARP;
        for (int round = 0, entry = entry_of(0); entry < count; entry = entry_of(++round)) {
            const Tile tile = tile_of(entry);
            Sums sum;
            multiply<1, BLOCK_M>(ring, place, steps, 1, operands, sum);
            // 16 lines of a warp are 8 gates and the 8 ups of the same columns.
            const int column = (tile.column * BLOCK_N + operands.consumer * 64) / 2 + warp * 8;
            Element* first = activation + static_cast<long long>(tile.first_row) * most_stride + column;
            store_transposed<8>(first, most_stride, tile.rows, tile.width - column, [&](int m) {
                const float* gate = sum[0] + 4 * m;
                const float* up = gate + 2;
                return chip::pack_pair<Element>(swiglu(gate[0], up[0]), swiglu(gate[1], up[1]));
            });
        }
    }
}

// rows [R, H] in plan order; activation: boxes of BLOCK_M x 64 of what fc1 left; down_t: boxes of 64 x 64 of the
// weights [sum of P_e, H].
//
// The thread that streams weights never waits for the grid before this one, so the first STAGES of them are under way
// while that grid still ends. What it reads is older: weights, which nothing writes once a layer is prepared, and the
// work list, offsets and widths, which were written before this call's fc1. fc1 waits for all grids before it and only
// then says that the next may start, and the grids of a stream start in their order; so whenever this one starts, what
// wrote those has ended. That holds where fc2 follows fc2, as when phases are timed, or follows any other grid, and
// without the launch attribute all the more. Memory that is freed and used again, the work list's included, is written
// by grids launched after this one, which wait for it: those of dispatch as usual launches do, ours in
// previous_grid_wait. All other threads wait: what copies boxes of the activation, which fc1 writes, and who stores.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    swapped_fc2(Element* rows, const __grid_constant__ chip::TensorMap activation,
                const __grid_constant__ chip::TensorMap down_t, const int* expert_offsets,
                const long long* width_offsets, const int* widths, const int* work_expert, const int* work_row,
                const int* work_column, const int* work_count, int hidden, int most_stride) {
    const Ring ring = make_ring(2);
    const WorkList work{work_expert, work_row, work_column};
    const int count = *work_count;
    const auto tile_of = [&](int entry) {
        return read_tile(work, entry, BLOCK_M, expert_offsets, width_offsets, widths, most_stride);
    };
    Place place;
    if (threadIdx.x < chip::WARP) {  // none of it may wait for the grid before, lest all of it did
        if (threadIdx.x != 0) return;
        chip::prefetch_tensor_map(&down_t);
        for (int round = 0, entry = entry_of(0); entry < count; entry = entry_of(++round)) {
            const Tile tile = tile_of(entry);
            const int first_line = static_cast<int>(tile.width_offset), column = tile.column * BLOCK_N;
            stream_weights(ring, place, tile.width / LINE, [&](Element* to, chip::Barrier* full, int k) {
#pragma unroll
                for (int block = 0; block < CONSUMERS; ++block)
                    chip::tma_load_2d(to + block * 64 * LINE, &down_t, full, column + block * 64, first_line + k);
            });
        }
        return;
    }
    chip::previous_grid_wait();
    chip::next_grid_may_start();
    if (warpgroup_index() == 0) {
        if (threadIdx.x != FIRST_COPIER) return;
        for (int round = 0, entry = entry_of(0); entry < count; entry = entry_of(++round)) {
            const Tile tile = tile_of(entry);
            for (int k = 0; k < tile.width; k += LINE) {
                wait_until_empty(ring, place);
                chip::Barrier* full = ring.full + place.stage;
                chip::barrier_arrive_expect(full, ROW_BYTES);
                chip::tma_load_2d(ring.b(place.stage), &activation, full, k, tile.first_row);
                place.next();
            }
        }
    } else {
        const WeightsTimesRows<true> operands{warpgroup_index() - 1};
        const int warp = group_thread() / chip::WARP;
        for (int round = 0, entry = entry_of(0); entry < count; entry = entry_of(++round)) {
            const Tile tile = tile_of(entry);
            Sums sum;
            multiply<1, BLOCK_M>(ring, place, tile.width / LINE, 1, operands, sum);
            const int column = tile.column * BLOCK_N + operands.consumer * 64 + warp * 16;
            Element* first = rows + static_cast<long long>(tile.first_row) * hidden + column;
            store_transposed<16>(first, hidden, tile.rows, hidden - column, [&](int m) {
                return chip::pack_pair<Element>(sum[0][2 * m], sum[0][2 * m + 1]);
            });
        }
    }
}
