// Every wrapper in a kernel small enough to check by hand. ELEMENT is __half or __nv_bfloat16; a block has 64 threads.
#include <wrappers.cuh>

// out[i][thread]: what thread gets from each warp collective for value = values[thread].
extern "C" __global__ void collectives(int* out, const int* values) {
    const int thread = chip::thread_index();
    const int value = values[thread];
    out[0 * 64 + thread] = chip::shuffle(value, 5);
    out[1 * 64 + thread] = chip::shuffle_xor(value, 3);
    out[2 * 64 + thread] = chip::shuffle_up(value, 2);
    out[3 * 64 + thread] = chip::shuffle_down(value, 7);
    out[4 * 64 + thread] = static_cast<int>(chip::ballot(value % 2 != 0));
    out[5 * 64 + thread] = static_cast<int>(chip::match_any(value));
    out[6 * 64 + thread] = chip::popcount(chip::lanes_below());
    out[7 * 64 + thread] = chip::warp_index() * 100 + chip::lane_index();
    out[8 * 64 + thread] = static_cast<int>(chip::shuffle(static_cast<long long>(value) << 32, 1) >> 32);
}

// x in three dimensions, to itself through dynamic shared memory and a warp barrier.
extern "C" __global__ void positions(int* out, const int* x, int blocks_before) {
    int* tile = chip::dynamic_shared<int>();
    const int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    const int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    tile[thread] = x[thread];
    chip::warp_barrier();
    out[(blocks_before + block) * 64 + thread] = tile[thread ^ 1] + 1000 * block;
}

// out[thread] = the float of bits[thread]; back[thread] = its nearest ELEMENT.
extern "C" __global__ void conversions(float* out, ELEMENT* back, const ELEMENT* numbers, const float* floats, int count) {
    for (int i = blockIdx.x * 64 + threadIdx.x; i < count; i += gridDim.x * 64) {
        out[i] = chip::to_float(numbers[i]);
        back[i] = chip::from_float<ELEMENT>(floats[i]);
    }
}

// out[0 ...] = a[16, 16] times b[8, 16] transposed, [16, 8]; out[128 ...] the same with b given as [16, 8] and
// transposed on the way by ldmatrix, out[256 ...] transposed in registers. Copies go through cp.async; the second warp
// does nothing but barriers.
extern "C" __global__ void matrix_product(float* out, const ELEMENT* a, const ELEMENT* b, const ELEMENT* b_by_rows) {
    __shared__ __align__(16) ELEMENT left[16 * 16];
    __shared__ __align__(16) ELEMENT right[8 * 16];
    __shared__ __align__(16) ELEMENT right_by_rows[16 * 8];
    const int lane = chip::lane_index();
    if (chip::warp_index() == 0) chip::cp_async_16(left + 8 * lane, a + 8 * lane);
    chip::cp_async_commit();
    if (chip::warp_index() == 0 && lane < 16) {
        chip::cp_async_16(right + 8 * lane, b + 8 * lane);
        chip::cp_async_16(right_by_rows + 8 * lane, b_by_rows + 8 * lane);
    }
    chip::cp_async_commit();
    chip::cp_async_wait<0>();
    chip::block_barrier();
    if (chip::warp_index() != 0) return;
    unsigned fragment_a[4], columns[4], transposed[4], rows[4];
    chip::ldmatrix_x4(fragment_a, left + lane % 16 * 16 + lane / 16 * 8);
    chip::ldmatrix_x4(columns, right + lane % 8 * 16 + lane / 8 % 2 * 8);
    chip::ldmatrix_x4_trans(transposed, right_by_rows + lane % 16 * 8);
    chip::ldmatrix_x4(rows, right_by_rows + lane % 16 * 8);
    const unsigned ways[3][2] = {{columns[0], columns[1]},
                                 {transposed[0], transposed[1]},
                                 {chip::transpose_8x8(rows[0]), chip::transpose_8x8(rows[1])}};
#pragma unroll
    for (int way = 0; way < 3; ++way) {
        const unsigned fragment_b[2] = {ways[way][0], ways[way][1]};
        float d[4] = {1.0f, 1.0f, 1.0f, 1.0f};
        chip::mma_m16n8k16<ELEMENT>(d, fragment_a, fragment_b);
        float* tile = out + 128 * way + lane / 4 * 8 + lane % 4 * 2;
        chip::store(tile, chip::Pack<float, 2>{d[0], d[1]});
        chip::store(tile + 64, chip::Pack<float, 2>{d[2], d[3]});
    }
}

// A ring of three stages: out[i] = sum over rounds of x[round][255 - i]; the last round is short, the rest zero.
extern "C" __global__ void pipeline(float* out, const float* x, int count) {
    __shared__ __align__(16) float stage[3][256];
    const int rounds = (count + 255) / 256;
    const auto fetch = [&](int round) {
        const int first = round * 256 + 4 * static_cast<int>(threadIdx.x);
        const int left = min(max(count - first, 0), 4);
        if (round < rounds) chip::cp_async_16(&stage[round % 3][4 * threadIdx.x], left > 0 ? x + first : x, 4 * left);
        chip::cp_async_commit();
    };
    float sums[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    fetch(0);
    fetch(1);
    for (int round = 0; round < rounds; ++round) {
        chip::cp_async_wait<1>();
        chip::block_barrier();
        fetch(round + 2);
        for (int i = 0; i < 4; ++i) sums[i] += stage[round % 3][255 - (4 * threadIdx.x + i)];
    }
    for (int i = 0; i < 4; ++i) out[4 * threadIdx.x + i] = sums[i];
}

extern "C" __global__ void atomics(int* whole, float* real, int* in_block) {
    __shared__ int sum;
    if (threadIdx.x == 0) sum = 0;
    chip::block_barrier();
    chip::atomic_add(&sum, static_cast<int>(threadIdx.x));
    chip::atomic_add(whole, 1);
    chip::atomic_add(real, 0.5f);
    chip::block_barrier();
    if (threadIdx.x == 0) in_block[blockIdx.x] = sum;
}
