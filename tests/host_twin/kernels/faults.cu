// One planted fault in each kernel; blocks of 64 threads unless a comment says otherwise.
#include <wrappers.cuh>

// Exchanged in place: between the read and the write a barrier is missing.
extern "C" __global__ void missing_barrier(float* y, const float* x) {
    __shared__ float tile[64];
    tile[threadIdx.x] = x[threadIdx.x];
    chip::block_barrier();
    const float other = tile[63 - threadIdx.x];
    tile[threadIdx.x] = other;
    y[threadIdx.x] = tile[threadIdx.x];
}

// The other warp's half is read after a barrier of this warp only.
extern "C" __global__ void too_small_a_barrier(float* y, const float* x) {
    __shared__ float tile[64];
    tile[threadIdx.x] = 0.0f;
    chip::block_barrier();
    tile[threadIdx.x] = x[threadIdx.x];
    chip::warp_barrier();
    y[threadIdx.x] = tile[63 - threadIdx.x];
}

// The same, with lanes of one warp and no barrier at all.
extern "C" __global__ void missing_warp_barrier(float* y, const float* x) {
    __shared__ float tile[64];
    tile[threadIdx.x] = 0.0f;
    chip::block_barrier();
    tile[threadIdx.x] = x[threadIdx.x];
    y[threadIdx.x] = tile[threadIdx.x ^ 1];
}

// All threads add without an atomic.
extern "C" __global__ void lost_update(int* y) {
    __shared__ int sum;
    if (threadIdx.x == 0) sum = 0;
    chip::block_barrier();
    sum += 1;
    chip::block_barrier();
    if (threadIdx.x == 0) *y = sum;
}

// Two threads write the same element of global memory.
extern "C" __global__ void global_conflict(int* y) { y[threadIdx.x / 2] = threadIdx.x; }

// A block reads what another wrote in the same launch.
extern "C" __global__ void other_block(int* y) {
    if (threadIdx.x != 0) return;
    y[blockIdx.x] = blockIdx.x;
    y[gridDim.x + blockIdx.x] = y[gridDim.x - 1 - blockIdx.x];
}

extern "C" __global__ void read_past_the_end(float* y, const float* x, int count) {
    if (threadIdx.x <= count) y[0 * threadIdx.x + (threadIdx.x < count ? threadIdx.x : 0)] = x[threadIdx.x];
}

extern "C" __global__ void write_past_the_end(float* y, int count) {
    if (threadIdx.x < count) y[threadIdx.x + 256 - 63] = 1.0f;
}

extern "C" __global__ void read_before_the_start(float* y, const float* x) { y[threadIdx.x] = x[static_cast<int>(threadIdx.x) - 1]; }

// From one argument into the next: allocations may be neighbours, arguments never are.
extern "C" __global__ void into_the_next_argument(float* y, const float* x, long long distance) { y[threadIdx.x] = x[threadIdx.x + distance]; }

extern "C" __global__ void outside_its_array(float* y) {
    __shared__ float tile[2][32];
    __shared__ float beside[64];
    tile[threadIdx.x / 32][threadIdx.x % 32] = 0.0f;
    beside[threadIdx.x] = 0.0f;
    chip::block_barrier();
    y[threadIdx.x] = tile[0][threadIdx.x] + beside[threadIdx.x];
}

// Needs 64 floats of dynamic shared memory.
extern "C" __global__ void past_dynamic_shared(float* y) {
    float* tile = chip::dynamic_shared<float>();
    tile[threadIdx.x] = 1.0f;
    y[threadIdx.x] = tile[threadIdx.x];
}

// Only the first half was written.
extern "C" __global__ void unwritten_static(float* y) {
    __shared__ float tile[64];
    if (threadIdx.x < 32) tile[threadIdx.x] = 1.0f;
    chip::block_barrier();
    y[threadIdx.x] = tile[threadIdx.x];
}

extern "C" __global__ void unwritten_dynamic(float* y) {
    float* tile = chip::dynamic_shared<float>();
    if (threadIdx.x < 32) tile[threadIdx.x] = 1.0f;
    chip::block_barrier();
    y[threadIdx.x] = tile[threadIdx.x];
}

// Written by the block before, and shared memory does not outlive a block.
extern "C" __global__ void from_the_block_before(float* y) {
    __shared__ float tile[64];
    const bool first = blockIdx.x == 0;
    if (first) tile[threadIdx.x] = 1.0f;
    y[blockIdx.x * 64 + threadIdx.x] = tile[threadIdx.x];
}

extern "C" __global__ void barrier_in_a_branch(float* y) {
    if (threadIdx.x < 32) chip::block_barrier();
    y[threadIdx.x] = 1.0f;
}

extern "C" __global__ void barrier_after_a_return(float* y, int count) {
    if (threadIdx.x >= count) return;
    chip::block_barrier();
    y[threadIdx.x] = 1.0f;
}

extern "C" __global__ void two_barriers_in_two_branches(float* y) {
    if (threadIdx.x < 32) {
        chip::block_barrier();
    } else {
        chip::block_barrier();
    }
    y[threadIdx.x] = 1.0f;
}

extern "C" __global__ void shuffle_in_a_branch(int* y) {
    if (threadIdx.x % 32 < 16) y[threadIdx.x] = chip::shuffle_xor(static_cast<int>(threadIdx.x), 1);
}

extern "C" __global__ void different_collectives(int* y) {
    if (threadIdx.x % 32 < 16) {
        y[threadIdx.x] = chip::shuffle_xor(static_cast<int>(threadIdx.x), 1);
    } else {
        y[threadIdx.x] = static_cast<int>(chip::ballot(true));
    }
}

// Every thread fetches 4 floats; WAITS 0: reads at once; 1: waits but does not commit; 2: waits for all but the youngest group.
template <int WAITS>
__device__ void fetch(float* y, const float* x) {
    __shared__ __align__(16) float tile[256];
    chip::cp_async_16(tile + 4 * threadIdx.x, x + 4 * threadIdx.x);
    if (WAITS != 1) chip::cp_async_commit();
    if (WAITS == 1) chip::cp_async_wait<0>();
    if (WAITS == 2) chip::cp_async_wait<1>();
    chip::block_barrier();
    y[threadIdx.x] = tile[threadIdx.x];
}

extern "C" __global__ void cp_async_no_wait(float* y, const float* x) { fetch<0>(y, x); }

extern "C" __global__ void cp_async_no_commit(float* y, const float* x) { fetch<1>(y, x); }

extern "C" __global__ void cp_async_one_group_short(float* y, const float* x) { fetch<2>(y, x); }

// Each thread waits for its own copy and then reads another's.
extern "C" __global__ void cp_async_no_barrier(float* y, const float* x) {
    __shared__ __align__(16) float tile[256];
    for (int i = threadIdx.x; i < 256; i += 64) tile[i] = 0.0f;
    chip::block_barrier();
    chip::cp_async_16(tile + 4 * threadIdx.x, x + 4 * threadIdx.x);
    chip::cp_async_commit();
    chip::cp_async_wait<0>();
    y[threadIdx.x] = tile[255 - 4 * threadIdx.x];
}

// The second copy into the same place starts while others still read the first.
extern "C" __global__ void cp_async_too_early(float* y, const float* x) {
    __shared__ __align__(16) float tile[256];
    for (int round = 0; round < 2; ++round) {
        chip::cp_async_16(tile + 4 * threadIdx.x, x + 4 * threadIdx.x);
        chip::cp_async_commit();
        chip::cp_async_wait<0>();
        chip::block_barrier();
        y[threadIdx.x] = tile[255 - threadIdx.x];
    }
}

extern "C" __global__ void cp_async_misaligned(float* y, const float* x) {
    __shared__ __align__(16) float tile[260];
    chip::cp_async_16(tile + 4 * threadIdx.x, x + 4 * threadIdx.x + 1);
    chip::cp_async_commit();
    chip::cp_async_wait<0>();
    chip::block_barrier();
    y[threadIdx.x] = tile[threadIdx.x];
}

extern "C" __global__ void misaligned_pack(float* y, const float* x) { chip::store(y + 4 * threadIdx.x, chip::load<4>(x + 1)); }

extern "C" __global__ void writes_its_input(float* y, const float* x) {
    const_cast<float*>(x)[threadIdx.x] = 1.0f;
    y[threadIdx.x] = x[threadIdx.x];
}

extern "C" __global__ void index_overflow(int* y, int large) { y[threadIdx.x] = large * (static_cast<int>(threadIdx.x) + 1); }

extern "C" __global__ void divides_by_zero(int* y, int zero) { y[threadIdx.x] = static_cast<int>(threadIdx.x) / zero; }

extern "C" __global__ void shifts_too_far(int* y, int by) { y[threadIdx.x] = 1 << by; }

extern "C" __global__ void uses_too_much_stack(int* y, int at) {
    volatile int local[64 * 1024];
    for (int i = 0; i < 64 * 1024; ++i) local[i] = i;
    y[threadIdx.x] = local[at];
}
