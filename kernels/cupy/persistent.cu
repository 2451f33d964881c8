// Version 4: version 3 with blocks that stay. float16 and bfloat16 on Hopper (sm_90a), any W, H in eights.
//
//   fc1:  activation[r, w] = silu(x[t] . gate_e[w]) * (x[t] . up_e[w])    t = row_token[r], e the expert of row r
//   fc2:  rows[r, h]       = sum over w of activation[r, w] * down_e[h, w]
//
// Floor: that of version 3 (wgmma.cu). What it left idle, and what is done about it here:
//   - the start of a block: as many blocks as multiprocessors walk the work list, and the producer runs ahead into the
//     next tile while the consumers still store the last one;
//   - unequal tiles: the list names experts by descending width and is dealt out in rounds of alternating direction, so
//     that every block gets about the same work, and always the same, without an atomic counter;
//   - the stores of narrow experts, whose fc2 tiles have few steps: below width PINGPONG_BELOW the two consumers take
//     the left and the right half of a tile in turns, so that one stores while the other multiplies. Above it they
//     share a tile, each half of its rows, which reads A once instead of twice;
//   - the gap between two launches: the grid may start before the one before it has ended (programmatic dependent
//     launch), sets up its barriers, and waits only before it reads what that one wrote. The next may start when this
//     one has waited, so that it finds older grids ended; its blocks need the room of these, and cannot come earlier.
//
// Constants given at compile time: ELEMENT, BLOCK_M, BLOCK_N, STAGES, PINGPONG_BELOW.
#include <hopper.cuh>

#include "work.cuh"

using Element = ELEMENT;

#include "hopper_tile.cuh"

constexpr int SHARED_M = BLOCK_M / (64 * CONSUMERS);  // times 64 rows of a shared tile for each consumer
constexpr int OWN_M = BLOCK_M / 64;                   // and of a half tile of its own
constexpr int OWN_N = BLOCK_N / CONSUMERS;
using SharedSums = float[SHARED_M][BLOCK_N / 2];
using OwnSums = float[OWN_M][OWN_N / 2];
constexpr int LEFT_TURN = 1, RIGHT_TURN = 2;  // named barriers
constexpr int TURN_THREADS = CONSUMERS * chip::WARPGROUP;

__device__ __forceinline__ bool takes_turns(const Tile& tile) {
    return PINGPONG_BELOW > 0 && tile.width < PINGPONG_BELOW;
}

// The products of a tile by a consumer, and then store_shared or store_own with its sums: rows from `first_line` of the
// tile on and all its columns, or all rows and columns from `first_column` on.
template <bool B_BY_COLUMNS, class StoreShared, class StoreOwn>
__device__ __forceinline__ void consume(const Ring& ring, Place& place, const Tile& tile, int steps,
                                        const StoreShared& store_shared, const StoreOwn& store_own) {
    const int consumer = warpgroup_index() - 1;
    if (!takes_turns(tile)) {
        const int first_line = consumer * SHARED_M * 64;
        SharedSums sum;
        multiply<SHARED_M, BLOCK_N>(ring, place, steps, 1, RowsTimesWeights<B_BY_COLUMNS>{first_line}, sum);
        store_shared(first_line, sum);
        return;
    }
    if constexpr (PINGPONG_BELOW > 0) {
        OwnSums sum;
        if (consumer == 1) place.advance(steps);  // the left half's stages come first
        chip::named_barrier_sync(consumer == 0 ? LEFT_TURN : RIGHT_TURN, TURN_THREADS);
        multiply<OWN_M, OWN_N>(ring, place, steps, CONSUMERS, RowsTimesWeights<B_BY_COLUMNS>{0}, sum);
        chip::named_barrier_arrive(consumer == 0 ? RIGHT_TURN : LEFT_TURN, TURN_THREADS);
        if (consumer == 0) place.advance(steps);
        store_own(consumer * OWN_N, sum);
    }
}

// The first left turn is nobody's to give, so the right consumer gives it; the last one is nobody's to take, so the
// left consumer takes it: every turn given is taken.
__device__ __forceinline__ void open_turns() {
    if (PINGPONG_BELOW > 0 && warpgroup_index() == 2) chip::named_barrier_arrive(LEFT_TURN, TURN_THREADS);
}
__device__ __forceinline__ void close_turns() {
    if (PINGPONG_BELOW > 0 && warpgroup_index() == 1) chip::named_barrier_sync(LEFT_TURN, TURN_THREADS);
}

// activation [R, most_stride]; x [T, H]; gate_up: boxes of OWN_N x 64 of the weights [sum of 2 * P_e, H]; row_token
// int32[R]; expert_offsets int32[E + 1]; width_offsets int64[E + 1], prefix sums of P_e; widths int32[E], P_e.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    persistent_fc1(Element* activation, const Element* x, const __grid_constant__ chip::TensorMap gate_up,
                   const int* row_token, const int* expert_offsets, const long long* width_offsets, const int* widths,
                   const int* work_expert, const int* work_row, const int* work_column, const int* work_count,
                   int hidden, int most_stride) {
    const Ring ring = make_ring(chip::WARPGROUP + 1);
    chip::previous_grid_wait();
    chip::next_grid_may_start();
    const WorkList work{work_expert, work_row, work_column};
    const int count = *work_count;
    const auto tile_of = [&](int entry) {
        return read_tile(work, entry, BLOCK_M, expert_offsets, width_offsets, widths, most_stride);
    };
    if (warpgroup_index() == 0) {
        chip::registers_give<PRODUCER_REGISTERS>();
        Producer producer{ring};
        for (int round = 0, entry = entry_of(0); entry < count; entry = entry_of(++round)) {
            const Tile tile = tile_of(entry);
            const Rows rows(tile, row_token, group_thread());
            const int first_line = static_cast<int>(2 * tile.width_offset) + tile.column * BLOCK_N;
            if (takes_turns(tile)) {
                for (int half = 0; half < CONSUMERS; ++half)
                    producer.fill_gathered<OWN_N, OWN_N>(rows, x, &gate_up, first_line + half * OWN_N, hidden);
            } else {
                producer.fill_gathered<BLOCK_N, OWN_N>(rows, x, &gate_up, first_line, hidden);
            }
        }
        producer.finish_gathered();
    } else {
        chip::registers_take<CONSUMER_REGISTERS>();
        open_turns();
        Place place;
        for (int round = 0, entry = entry_of(0); entry < count; entry = entry_of(++round)) {
            const Tile tile = tile_of(entry);
            const int column = tile.column * (BLOCK_N / 2);
            consume<false>(
                ring, place, tile, (hidden + LINE - 1) / LINE,
                [&](int first_line, const SharedSums& sum) {
                    store_activation<SHARED_M, BLOCK_N>(activation, tile, first_line, column, most_stride, sum);
                },
                [&](int first_column, const OwnSums& sum) {
                    store_activation<OWN_M, OWN_N>(activation, tile, 0, column + first_column / 2, most_stride, sum);
                });
        }
        close_turns();
    }
}

// rows [R, H] in plan order; activation: boxes of BLOCK_M x 64 of what fc1 left; down_t: boxes of 64 x 64 of the
// weights [sum of P_e, H].
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    persistent_fc2(Element* rows, const __grid_constant__ chip::TensorMap activation,
                   const __grid_constant__ chip::TensorMap down_t, const int* expert_offsets,
                   const long long* width_offsets, const int* widths, const int* work_expert, const int* work_row,
                   const int* work_column, const int* work_count, int hidden, int most_stride) {
    const Ring ring = make_ring(1);
    chip::previous_grid_wait();
    chip::next_grid_may_start();
    const WorkList work{work_expert, work_row, work_column};
    const int count = *work_count;
    const auto tile_of = [&](int entry) {
        return read_tile(work, entry, BLOCK_M, expert_offsets, width_offsets, widths, most_stride);
    };
    if (warpgroup_index() == 0) {
        chip::registers_give<PRODUCER_REGISTERS>();
        if (threadIdx.x != 0) return;
        Producer producer{ring};
        for (int round = 0, entry = entry_of(0); entry < count; entry = entry_of(++round)) {
            const Tile tile = tile_of(entry);
            const int column = tile.column * BLOCK_N;
            if (takes_turns(tile)) {
                for (int half = 0; half < CONSUMERS; ++half)
                    producer.fill<OWN_N>(&activation, tile.first_row, &down_t, tile.width_offset, column + half * OWN_N,
                                         tile.width);
            } else {
                producer.fill<BLOCK_N>(&activation, tile.first_row, &down_t, tile.width_offset, column, tile.width);
            }
        }
    } else {
        chip::registers_take<CONSUMER_REGISTERS>();
        open_turns();
        Place place;
        for (int round = 0, entry = entry_of(0); entry < count; entry = entry_of(++round)) {
            const Tile tile = tile_of(entry);
            const int column = tile.column * BLOCK_N;
            consume<true>(
                ring, place, tile, tile.width / LINE,
                [&](int first_line, const SharedSums& sum) {
                    store_rows<SHARED_M, BLOCK_N>(rows, tile, first_line, column, hidden, sum);
                },
                [&](int first_column, const OwnSums& sum) {
                    store_rows<OWN_M, OWN_N>(rows, tile, 0, column + first_column, hidden, sum);
                });
        }
        close_turns();
    }
}
