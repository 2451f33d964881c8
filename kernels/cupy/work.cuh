// What all versions share: how a block finds its next output tile, where an expert's operands and its part of the
// ragged activation lie, and the activation function.
//
// Activation layout of the tile and mma versions. Rows of expert e form a dense [n_e, S_e] block with row stride S_e =
// W_e rounded up to 8, so that every row starts on 16 bytes whatever W_e is; columns W_e to S_e - 1 hold zeros. The
// block starts at element expert_offsets[e] * S_max: blocks cannot overlap because S_e <= S_max, the largest width in
// whole stages, and no prefix sum over n_e * S_e is needed. The buffer has R * S_max elements, which the host knows.
#pragma once

struct WorkList {
    const int* expert;  // int32[bound], -1 past the end
    const int* row;     // int32[bound], absolute index into the rows in plan order
    const int* column;  // int32[bound], in blocks of columns
};

struct Tile {
    int first_row;  // absolute
    int rows;       // 1 to BLOCK_M
    int column;     // column block
    int width;      // W_e, as the version at hand pads it
    long long width_offset;  // the first row of this expert in the packed weights
    long long activation;    // element offset of this tile's first row in the ragged activation
    int stride;              // S_e
};

__device__ __forceinline__ int round_up_8(int value) { return (value + 7) / 8 * 8; }

// The tile of work list entry `entry`, which must not be -1.
__device__ __forceinline__ Tile read_tile(const WorkList& work, int entry, int block_rows, const int* expert_offsets,
                                 const long long* width_offsets, const int* widths, int most_stride) {
    Tile tile;
    const int expert = work.expert[entry];
    tile.first_row = work.row[entry];
    tile.column = work.column[entry];
    const int start = expert_offsets[expert];
    const int left = expert_offsets[expert + 1] - tile.first_row;
    tile.rows = left < block_rows ? left : block_rows;
    tile.width_offset = width_offsets[expert];
    tile.width = widths[expert];
    tile.stride = round_up_8(tile.width);
    tile.activation = static_cast<long long>(start) * most_stride +
                      static_cast<long long>(tile.first_row - start) * tile.stride;
    return tile;
}

// The work list entry of a block that stays, in a round of as many entries as blocks: who got the longest tile of one
// round gets the shortest of the next. Experts are listed by descending width.
__device__ __forceinline__ int entry_of(int round) {
    const int place = round % 2 == 0 ? blockIdx.x : gridDim.x - 1 - blockIdx.x;
    return round * static_cast<int>(gridDim.x) + place;
}

// silu(gate) * up. For gate below about -88 the exponential is infinite and the quotient -0, which is right.
__device__ __forceinline__ float swiglu(float gate, float up) {
    return chip::fast_divide(gate, 1.0f + chip::fast_exp(-gate)) * up;
}
