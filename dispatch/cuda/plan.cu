// Routing to memory order: a stable counting sort of the R = T * K slots (t, k) by expert, in three launches.
//
//   plan_count  block_counts[e][b] = slots of block b that chose expert e
//   plan_scan   block_counts[e][b] becomes the sum over the blocks before b; totals[e] the sum over all
//   plan_place  row = start of e (sum of totals before e) + block_counts[e][b] + rank of the slot within the block
//
// The rank counts slots of the same expert in slot order: over the warps before this one, the steps before this one,
// and the lanes below this one (match_any). No atomics, so nothing depends on who comes first.
//
// Floor: three launches, and the waits for memory that follow one another in them; bytes are nothing (16384 tokens:
// 0.8 MB of ids read twice, 1.6 MB of plan written). Waits, for 98304 slots and 64 experts: count 1; scan 3, one for
// each 32 of 96 blocks; place 4: ids and weights together, twice 32 totals, block_counts. Asking for one step's ids at a
// time, and for all of them twice, made them 4, 3 and 15. Predicted from 0.6 us a wait: some 8 us less. Not measured.
//
// Defines: ID, the type of the expert ids; THREADS per block; SLOTS per block, a multiple of THREADS.
// Dynamic shared memory: plan_count [WARPS][E] ints, plan_place E more.
#include <wrappers.cuh>

#include "scan.cuh"

constexpr int WARPS = THREADS / chip::WARP;
constexpr int STEPS = SLOTS / THREADS;  // of a warp, 32 slots each; a warp's slots are neighbours

// What a lane knows of its slots, one in each step of its warp. All ids are asked for before the first is looked at.
struct Turns {
    int expert[STEPS];      // -1 past the last slot
    unsigned peers[STEPS];  // lanes of this warp with the same expert

    __device__ __forceinline__ bool leads(int step) const {  // the lowest of them
        return expert[step] >= 0 && (peers[step] & chip::lanes_below()) == 0;
    }
};

__device__ __forceinline__ int slot_of(int step) {
    return blockIdx.x * SLOTS + (chip::warp_index() * STEPS + step) * chip::WARP + chip::lane_index();
}

__device__ __forceinline__ Turns take_turns(const ID* expert_ids, int slots) {
    Turns turns;
#pragma unroll
    for (int step = 0; step < STEPS; ++step) {
        const int slot = slot_of(step);
        turns.expert[step] = slot < slots ? static_cast<int>(expert_ids[slot]) : -1;
    }
#pragma unroll
    for (int step = 0; step < STEPS; ++step) turns.peers[step] = chip::match_any(turns.expert[step]);
    return turns;
}

// counts[w][e] = slots of warp w that chose e.
__device__ __forceinline__ void count_slots(const Turns& turns, int experts, int* counts) {
    for (int i = chip::thread_index(); i < WARPS * experts; i += THREADS) counts[i] = 0;
    chip::block_barrier();
    int* mine = counts + chip::warp_index() * experts;
#pragma unroll
    for (int step = 0; step < STEPS; ++step) {
        if (turns.leads(step)) mine[turns.expert[step]] += chip::popcount(turns.peers[step]);
        chip::warp_barrier();
    }
    chip::block_barrier();
}

extern "C" __global__ void __launch_bounds__(THREADS) plan_count(
    const ID* __restrict__ expert_ids,  // [slots]
    int* __restrict__ block_counts,     // [experts][gridDim.x]
    int slots, int experts) {
    int* counts = chip::dynamic_shared<int>();
    count_slots(take_turns(expert_ids, slots), experts, counts);
    for (int expert = chip::thread_index(); expert < experts; expert += THREADS) {
        int sum = 0;
        for (int warp = 0; warp < WARPS; ++warp) sum += counts[warp * experts + expert];
        block_counts[expert * gridDim.x + blockIdx.x] = sum;
    }
}

// A warp for each expert.
extern "C" __global__ void __launch_bounds__(THREADS) plan_scan(
    int* __restrict__ block_counts,  // [experts][blocks]
    int* __restrict__ totals,        // [experts]
    int blocks, int experts) {
    const int expert = blockIdx.x * WARPS + chip::warp_index();
    if (expert >= experts) return;
    int* row = block_counts + expert * blocks;
    const int total = warp_exclusive_scan(
        blocks, [&](int block) { return row[block]; }, [&](int block, int before) { row[block] = before; });
    if (chip::lane_index() == 0) totals[expert] = total;
}

// Four blocks: the compiler may then use 64 registers. Without a word it took 48 and spilled three of them.
extern "C" __global__ void __launch_bounds__(THREADS, 4) plan_place(
    const ID* __restrict__ expert_ids,      // [slots]
    const float* __restrict__ weights,      // [slots]
    const int* __restrict__ block_counts,   // [experts][gridDim.x], scanned
    const int* __restrict__ totals,         // [experts]
    int* __restrict__ expert_offsets,       // [experts + 1]
    int* __restrict__ row_token,            // [slots]
    int* __restrict__ token_row,            // [slots]
    float* __restrict__ row_weight,         // [slots]
    int slots, int experts, int top_k) {
    int* counts = chip::dynamic_shared<int>();
    int* starts = counts + WARPS * experts;
    const Turns turns = take_turns(expert_ids, slots);
    float weight[STEPS];
#pragma unroll
    for (int step = 0; step < STEPS; ++step) weight[step] = slot_of(step) < slots ? weights[slot_of(step)] : 0.0f;
    if (chip::warp_index() == 0) {
        const int all = warp_exclusive_scan(
            experts, [&](int expert) { return totals[expert]; },
            [&](int expert, int before) {
                starts[expert] = before;
                if (blockIdx.x == 0) expert_offsets[expert] = before;
            });
        if (blockIdx.x == 0 && chip::lane_index() == 0) expert_offsets[experts] = all;
    }
    count_slots(turns, experts, counts);  // ends with a barrier: starts is there for all
    for (int expert = chip::thread_index(); expert < experts; expert += THREADS) {
        int next = starts[expert] + block_counts[expert * gridDim.x + blockIdx.x];
        for (int warp = 0; warp < WARPS; ++warp) {
            int& count = counts[warp * experts + expert];
            const int here = count;
            count = next;
            next += here;
        }
    }
    chip::block_barrier();
    int* next_row = counts + chip::warp_index() * experts;
#pragma unroll
    for (int step = 0; step < STEPS; ++step) {
        const int expert = turns.expert[step], slot = slot_of(step);
        if (expert >= 0) {
            const int row = next_row[expert] + chip::popcount(turns.peers[step] & chip::lanes_below());
            row_token[row] = slot / top_k;
            token_row[slot] = row;
            row_weight[row] = weight[step];
        }
        chip::warp_barrier();  // all lanes have read before their leader counts them
        if (turns.leads(step)) next_row[expert] += chip::popcount(turns.peers[step]);
        chip::warp_barrier();
    }
}
