// Version 2: tensor cores through mma.sync m16n8k16, for float16 and bfloat16, any W, and H a multiple of 8.
//
//   fc1:  activation[r, w] = silu(x[t] . gate_e[w]) * (x[t] . up_e[w])    t = row_token[r], e the expert of row r
//   fc2:  rows[r, h]       = sum over w of activation[r, w] * down_e[h, w]
//
// Floor. FLOPs: sum over e of n_e * 6 * H * W_e; mohge-3b with 16384 tokens has 0.50 TFLOP, 0.64 ms at the 790 TFLOP/s
// that wgmma reaches on an H200; mma.sync itself stops at about two thirds of that. Bytes: every weight once (2 bytes *
// 3 * H * sum of W_e = 327 MB, 76 us), which is all that counts when experts have few rows.
//
// One launch computes all experts. Blocks walk the work list with a grid-wide stride. cp.async brings 16-byte chunks of
// both operands to one of STAGES swizzled stages: x rows are gathered through row_token on the way, so nothing is
// permuted beforehand. Gate and up rows alternate in blocks of 8 (weights.py), so that one thread ends up with the gate
// and the up value of the same element, SwiGLU happens in registers and only W columns are stored. Chunks outside an
// operand are filled with zeros. W need not be a multiple of 8: fc1 also writes the zeros between W and the row stride,
// and fc2's weights are zero from line W on.
//
// Constants given at compile time: ELEMENT, BLOCK_M, BLOCK_N, BLOCK_K, STAGES, WARPS_M, WARPS_N, BLOCKS_PER_SM.
#include <wrappers.cuh>

#include "work.cuh"

using Element = ELEMENT;

#include "mma_tile.cuh"

// activation: the ragged layout of work.cuh; x [T, H]; gate_up [sum of 2 * P_e, H] and P_e as in weights.py; row_token
// int32[R]; expert_offsets int32[E + 1]; width_offsets int64[E + 1], prefix sums of P_e; widths int32[E], W_e.
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS_PER_SM)
    mma_fc1(Element* activation, const Element* x, const Element* gate_up, const int* row_token,
            const int* expert_offsets, const long long* width_offsets, const int* widths, const int* work_expert,
            const int* work_row, const int* work_column, const int* work_count, int hidden, int most_stride) {
    using ShareB = Share<BLOCK_N, BLOCK_K>;
    constexpr int COLUMNS = BLOCK_N / 2;
    Element* memory = chip::dynamic_shared<Element>();
    const WorkList work{work_expert, work_row, work_column};
    const int count = *work_count;
    for (int entry = blockIdx.x; entry < count; entry += gridDim.x) {
        const Tile tile = read_tile(work, entry, BLOCK_M, expert_offsets, width_offsets, widths, most_stride);
        const int first_column = tile.column * COLUMNS;

        int token[ShareA::COUNT];  // -1: no row there
#pragma unroll
        for (int i = 0; i < ShareA::COUNT; ++i)
            token[i] = ShareA::line(i) < tile.rows ? row_token[tile.first_row + ShareA::line(i)] : -1;
        const Element* weights = gate_up + 2 * (tile.width_offset + first_column) * hidden;
        const int lines = 2 * (tile.stride - first_column);

        float sum[M_TILES][N_TILES][4] = {};
        multiply<true>(
            hidden, memory,
            [&](int step, Element* a, Element* b) {
                const int a_k = step * BLOCK_K + ShareA::first_element();
#pragma unroll
                for (int i = 0; i < ShareA::COUNT; ++i) {
                    const bool inside = token[i] >= 0 && a_k < hidden;
                    ShareA::copy(a, i, x, static_cast<long long>(token[i]) * hidden + a_k, inside);
                }
                const int b_k = step * BLOCK_K + ShareB::first_element();
#pragma unroll
                for (int i = 0; i < ShareB::COUNT; ++i) {  // lines 0-7 gate, 8-15 up, 16-23 gate, ...
                    const unsigned line = ShareB::line(i);
                    const bool inside = static_cast<int>(line) < lines && b_k < hidden;
                    ShareB::copy(b, i, weights, static_cast<int>(line) * hidden + b_k, inside);
                }
            },
            sum);

#pragma unroll
        for (int i = 0; i < M_TILES; ++i)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const int row = accumulator_row(i, half);
                if (row >= tile.rows) continue;
                Element* out = activation + tile.activation + row * tile.stride;
#pragma unroll
                for (int j = 0; j < N_TILES; j += 2) {  // tile j holds gate, tile j + 1 up of the same columns
                    const int line = accumulator_column(j);
                    const int column = first_column + line / 16 * 8 + line % 8;
                    const float* gate = sum[i][j] + 2 * half;
                    const float* up = sum[i][j + 1] + 2 * half;
                    if (column < tile.stride)
                        store_pair(out + column, swiglu(gate[0], up[0]), swiglu(gate[1], up[1]));
                }
            }
    }
}

// rows [R, H] in plan order; activation as fc1 left it; down_t [sum of P_e, H].
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS_PER_SM)
    mma_fc2(Element* rows, const Element* activation, const Element* down_t, const int* expert_offsets,
            const long long* width_offsets, const int* widths, const int* work_expert, const int* work_row,
            const int* work_column, const int* work_count, int hidden, int most_stride) {
    using ShareB = Share<BLOCK_K, BLOCK_N>;
    Element* memory = chip::dynamic_shared<Element>();
    const WorkList work{work_expert, work_row, work_column};
    const int count = *work_count;
    for (int entry = blockIdx.x; entry < count; entry += gridDim.x) {
        const Tile tile = read_tile(work, entry, BLOCK_M, expert_offsets, width_offsets, widths, most_stride);
        const int first_column = tile.column * BLOCK_N;
        const Element* left = activation + tile.activation;
        const Element* weights = down_t + tile.width_offset * hidden;

        float sum[M_TILES][N_TILES][4] = {};
        multiply<false>(
            tile.width, memory,
            [&](int step, Element* a, Element* b) {
                const int a_k = step * BLOCK_K + ShareA::first_element();
#pragma unroll
                for (int i = 0; i < ShareA::COUNT; ++i) {
                    const int row = ShareA::line(i);
                    const bool inside = row < tile.rows && a_k < tile.stride;
                    ShareA::copy(a, i, left, row * tile.stride + a_k, inside);
                }
                const int column = first_column + ShareB::first_element();
#pragma unroll
                for (int i = 0; i < ShareB::COUNT; ++i) {
                    const int k = step * BLOCK_K + ShareB::line(i);
                    const bool inside = k < tile.width && column < hidden;
                    ShareB::copy(b, i, weights, k * hidden + column, inside);
                }
            },
            sum);

#pragma unroll
        for (int i = 0; i < M_TILES; ++i)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const int row = accumulator_row(i, half);
                if (row >= tile.rows) continue;
                Element* out = rows + static_cast<long long>(tile.first_row + row) * hidden;
#pragma unroll
                for (int j = 0; j < N_TILES; ++j) {
                    const int column = first_column + accumulator_column(j);
                    const float* pair = sum[i][j] + 2 * half;
                    if (column < hidden) store_pair(out + column, pair[0], pair[1]);
                }
            }
    }
}
