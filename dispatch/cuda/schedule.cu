// The work lists of two grouped GEMMs over the same rows, one by each row of the grid, or the first alone by a grid of
// one row. Entry i finds its expert by a search in the prefix sums of tiles per expert, then its place in that expert's
// bands (see TileSchedule). Every block sums for itself: E is small, and one launch is enough.
//
// Defines: THREADS per block. Dynamic shared memory: E + 1 ints.
#include <wrappers.cuh>

#include "scan.cuh"

struct List {
    const int* columns;          // [experts] column blocks
    int *expert, *row, *column;  // [bound] of each tile
    int* count;                  // [1]
    int bound, block_rows, band;
};

extern "C" __global__ void __launch_bounds__(THREADS) schedule_tiles(
    const int* __restrict__ expert_offsets,  // [experts + 1]
    const int* __restrict__ order,           // [experts] the experts as they are listed
    const int* columns, int* tile_expert, int* tile_row, int* tile_column, int* count,  // of the first, see List
    int bound, int block_rows, int band,
    const int* other_columns, int* other_expert, int* other_row, int* other_column, int* other_count,
    int other_bound, int other_block_rows, int other_band, int experts) {
    const List first{columns, tile_expert, tile_row, tile_column, count, bound, block_rows, band};
    const List other{other_columns, other_expert, other_row, other_column, other_count,
                     other_bound, other_block_rows, other_band};
    const List list = blockIdx.y == 0 ? first : other;
    const auto row_blocks = [&](int expert) {
        return (expert_offsets[expert + 1] - expert_offsets[expert] + list.block_rows - 1) / list.block_rows;
    };
    int* starts = chip::dynamic_shared<int>();  // of the experts' tiles, in listed order
    int* all = starts + experts;
    if (chip::warp_index() == 0) {
        const int tiles = warp_exclusive_scan(
            experts, [&](int place) { return row_blocks(order[place]) * list.columns[order[place]]; },
            [&](int place, int before) { starts[place] = before; });
        if (chip::lane_index() == 0) {
            *all = tiles;
            if (blockIdx.x == 0) *list.count = tiles;
        }
    }
    chip::block_barrier();
    const int entry = blockIdx.x * THREADS + chip::thread_index();
    if (entry >= list.bound) return;
    if (entry >= *all) {
        list.expert[entry] = list.row[entry] = list.column[entry] = -1;
        return;
    }
    int low = 0, high = experts;  // the last place whose tiles start at or before entry lies in [low, high)
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        (starts[middle] <= entry ? low : high) = middle;
    }
    const int expert = order[low];
    const int within = entry - starts[low];
    const int wide = list.columns[expert];
    const int first_block = within / (list.band * wide) * list.band;
    const int band_blocks = min(list.band, row_blocks(expert) - first_block);
    const int in_band = within - first_block * wide;
    list.expert[entry] = expert;
    list.row[entry] = expert_offsets[expert] + (first_block + in_band % band_blocks) * list.block_rows;
    list.column[entry] = in_band / band_blocks;
}
