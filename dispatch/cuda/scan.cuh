// Prefix sums by one warp.
#pragma once

// Sum over lanes 0 to this one.
__device__ __forceinline__ int warp_inclusive_sum(int value) {
#pragma unroll
    for (int distance = 1; distance < chip::WARP; distance *= 2) {
        const int below = chip::shuffle_up(value, distance);
        if (chip::lane_index() >= distance) value += below;
    }
    return value;
}

// Calls put(i, sum of get(0) to get(i - 1)) for every i below count and returns the sum of all; one warp, all lanes.
template <typename Get, typename Put>
__device__ __forceinline__ int warp_exclusive_scan(int count, const Get& get, const Put& put) {
    int before = 0;
    for (int first = 0; first < count; first += chip::WARP) {
        const int i = first + chip::lane_index();
        const int value = i < count ? get(i) : 0;
        const int through = before + warp_inclusive_sum(value);
        if (i < count) put(i, through - value);
        before = chip::shuffle(through, chip::WARP - 1);
    }
    return before;
}
