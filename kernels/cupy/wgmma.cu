// Version 3: wgmma, TMA and mbarriers, one tile a block. float16 and bfloat16 on Hopper (sm_90a), any W, H in eights.
//
//   fc1:  activation[r, w] = silu(x[t] . gate_e[w]) * (x[t] . up_e[w])    t = row_token[r], e the expert of row r
//   fc2:  rows[r, h]       = sum over w of activation[r, w] * down_e[h, w]
//
// Floor: that of version 2 (mma.cu), but wgmma reaches all of the matrix rate. A stage of a 128 x 256 tile brings 48
// KiB for 4.2 MFLOP: 11.7 bytes a kFLOP, so that 760 TFLOP/s need 8.9 TB/s out of L2.
//
// A block of three warpgroups computes one tile. The producer keeps STAGES stages of both operands on the way, the two
// consumers multiply them, each half of the tile's rows; see ring.cuh and hopper_tile.cuh. fc1's rows are gathered from
// x through row_token by cp.async, for Hopper's TMA has no gather; everything else comes by TMA. Blocks past the end of
// the work list leave at once. What this version leaves idle: the tensor cores during a block's start and its stores.
//
// Constants given at compile time: ELEMENT, BLOCK_M, BLOCK_N, STAGES.
#include <hopper.cuh>

#include "work.cuh"

using Element = ELEMENT;

#include "hopper_tile.cuh"

constexpr int M_TILES = BLOCK_M / (64 * CONSUMERS);

// activation [R, most_stride]; x [T, H]; gate_up: boxes of BLOCK_N x 64 of the weights [sum of 2 * W_e, H]; row_token
// int32[R]; expert_offsets int32[E + 1]; width_offsets int64[E + 1], widths int32[E], both of padded widths.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    wgmma_fc1(Element* activation, const Element* x, const __grid_constant__ chip::TensorMap gate_up,
              const int* row_token, const int* expert_offsets, const long long* width_offsets, const int* widths,
              const int* work_expert, const int* work_row, const int* work_column, const int* work_count, int hidden,
              int most_stride) {
    if (blockIdx.x >= *work_count) return;
    const Tile tile = read_tile({work_expert, work_row, work_column}, blockIdx.x, BLOCK_M, expert_offsets,
                                width_offsets, widths, most_stride);
    const Ring ring = make_ring(chip::WARPGROUP + 1);
    if (warpgroup_index() == 0) {
        chip::registers_give<PRODUCER_REGISTERS>();
        Producer producer{ring};
        const Rows rows(tile, row_token, group_thread());
        const int first_line = static_cast<int>(2 * tile.width_offset) + tile.column * BLOCK_N;
        producer.fill_gathered<BLOCK_N, BLOCK_N>(rows, x, &gate_up, first_line, hidden);
        producer.finish_gathered();
    } else {
        chip::registers_take<CONSUMER_REGISTERS>();
        const int first_line = (warpgroup_index() - 1) * M_TILES * 64;
        Place place;
        float sum[M_TILES][BLOCK_N / 2];
        const RowsTimesWeights<false> operands{first_line};
        multiply<M_TILES, BLOCK_N>(ring, place, (hidden + LINE - 1) / LINE, 1, operands, sum);
        store_activation<M_TILES, BLOCK_N>(activation, tile, first_line, tile.column * (BLOCK_N / 2), most_stride, sum);
    }
}

// rows [R, H] in plan order; activation: boxes of BLOCK_M x 64 of what fc1 left; down_t: boxes of 64 x 64 of the
// weights [sum of W_e, H].
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    wgmma_fc2(Element* rows, const __grid_constant__ chip::TensorMap activation,
              const __grid_constant__ chip::TensorMap down_t, const int* expert_offsets,
              const long long* width_offsets, const int* widths, const int* work_expert, const int* work_row,
              const int* work_column, const int* work_count, int hidden, int most_stride) {
    if (blockIdx.x >= *work_count) return;
    const Tile tile = read_tile({work_expert, work_row, work_column}, blockIdx.x, BLOCK_M, expert_offsets,
                                width_offsets, widths, most_stride);
    const int first_column = tile.column * BLOCK_N;
    const Ring ring = make_ring(1);
    if (warpgroup_index() == 0) {
        chip::registers_give<PRODUCER_REGISTERS>();
        Producer producer{ring};
        if (threadIdx.x == 0)
            producer.fill<BLOCK_N>(&activation, tile.first_row, &down_t, tile.width_offset, first_column, tile.width);
    } else {
        chip::registers_take<CONSUMER_REGISTERS>();
        const int first_line = (warpgroup_index() - 1) * M_TILES * 64;
        Place place;
        float sum[M_TILES][BLOCK_N / 2];
        multiply<M_TILES, BLOCK_N>(ring, place, tile.width / LINE, 1, RowsTimesWeights<true>{first_line}, sum);
        store_rows<M_TILES, BLOCK_N>(rows, tile, first_line, first_column, hidden, sum);
    }
}
