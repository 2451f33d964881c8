// The work list of a grouped GEMM: entry i finds its expert by a search in the prefix sums of tiles per expert, then its
// place in that expert's bands (see TileSchedule). Every block sums for itself: E is small, and one launch is enough.
//
// Defines: THREADS per block. Dynamic shared memory: E + 1 ints.
#include <wrappers.cuh>

#include "scan.cuh"

extern "C" __global__ void __launch_bounds__(THREADS) schedule_tiles(
    const int* __restrict__ expert_offsets,  // [experts + 1]
    const int* __restrict__ columns,         // [experts] column blocks
    const int* __restrict__ order,           // [experts] the experts as they are listed
    int* __restrict__ tile_expert,           // [bound]
    int* __restrict__ tile_row,              // [bound]
    int* __restrict__ tile_column,           // [bound]
    int* __restrict__ count,                 // [1]
    int bound, int experts, int block_rows, int band) {
    const auto row_blocks = [&](int expert) {
        return (expert_offsets[expert + 1] - expert_offsets[expert] + block_rows - 1) / block_rows;
    };
    int* starts = chip::dynamic_shared<int>();  // of the experts' tiles, in listed order
    int* all = starts + experts;
    if (chip::warp_index() == 0) {
        const int tiles = warp_exclusive_scan(
            experts, [&](int place) { return row_blocks(order[place]) * columns[order[place]]; },
            [&](int place, int before) { starts[place] = before; });
        if (chip::lane_index() == 0) {
            *all = tiles;
            if (blockIdx.x == 0) *count = tiles;
        }
    }
    chip::block_barrier();
    const int entry = blockIdx.x * THREADS + chip::thread_index();
    if (entry >= bound) return;
    if (entry >= *all) {
        tile_expert[entry] = tile_row[entry] = tile_column[entry] = -1;
        return;
    }
    int low = 0, high = experts;  // the last place whose tiles start at or before entry lies in [low, high)
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        (starts[middle] <= entry ? low : high) = middle;
    }
    const int expert = order[low];
    const int within = entry - starts[low];
    const int first_block = within / (band * columns[expert]) * band;
    const int band_blocks = min(band, row_blocks(expert) - first_block);
    const int in_band = within - first_block * columns[expert];
    tile_expert[entry] = expert;
    tile_row[entry] = expert_offsets[expert] + (first_block + in_band % band_blocks) * block_rows;
    tile_column[entry] = in_band / band_blocks;
}
