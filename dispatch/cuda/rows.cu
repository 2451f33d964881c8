// Rows to expert order and back, a block for each token; a thread moves PACK neighbouring elements at a time.
//
//   permute_rows  rows[token_row[t][k]] = x[t] for every k: x is read once, whatever K is
//   combine_rows  y[t] = sum over k of row_weight[r] * rows[r], r = token_row[t][k], k = 0 first
//
// Floor: memory. For mohge-3b, 16384 tokens in bfloat16, each moves (T + R) * H * 2 bytes = 235 MB: 0.055 ms at a copy
// rate of 4.3 TB/s, 0.069 ms at 3.4. What stands between is latency: 4.3 TB/s over 132 multiprocessors and about 0.7 us
// is 23 KB that each must have on its way. permute_rows stores without waiting: 16 blocks of 128 threads (32 registers)
// with K stores of 16 bytes a thread. combine_rows waits twice a token, for its rows' places and for the rows: 8 blocks
// of 128 threads (64 registers) have 8 * 6 * 2 KB = 98 KB on their way while they wait for rows, half of the time.
// Predicted: both bound by memory. Not measured.
//
// Defines: ELEMENT; PACK, which divides `hidden`, with every row starting on a multiple of PACK elements.
#include <wrappers.cuh>

using Elements = chip::Pack<ELEMENT, PACK>;

constexpr int BATCH = 8;  // rows of a token that are on their way at once
// Told that four such blocks must fit, the compiler uses the 64 registers that leaves and asks for all rows of a batch
// before it adds the first. Left alone it kept 34, adding one row before it asked for the next but one.
constexpr int MOST_THREADS = 256, BLOCKS = 4;

// The type sums are made in: float, and double for double.
template <typename T>
struct Sum {
    float value = 0.0f;
    __device__ __forceinline__ void add(float weight, T item) {
        value = chip::multiply_add(weight, chip::to_float(item), value);
    }
    __device__ __forceinline__ T rounded() const { return chip::from_float<T>(value); }
};

template <>
struct Sum<double> {
    double value = 0.0;
    __device__ __forceinline__ void add(float weight, double item) {
        value = chip::multiply_add(static_cast<double>(weight), item, value);
    }
    __device__ __forceinline__ double rounded() const { return value; }
};

// Adds COUNT of a token's rows, in order, at one place of H: all of them are on their way before the first is added.
template <int COUNT>
__device__ __forceinline__ void add_rows(Sum<ELEMENT> (&sums)[PACK], const int* row, const float* row_weight,
                                         const ELEMENT* column, int hidden) {
    long long at[COUNT];
    float weight[COUNT];
    Elements elements[COUNT];
#pragma unroll
    for (int k = 0; k < COUNT; ++k) at[k] = row[k];
#pragma unroll
    for (int k = 0; k < COUNT; ++k) {
        elements[k] = chip::load<PACK>(column + at[k] * hidden);
        weight[k] = row_weight[at[k]];
    }
#pragma unroll
    for (int k = 0; k < COUNT; ++k) {
#pragma unroll
        for (int i = 0; i < PACK; ++i) sums[i].add(weight[k], elements[k].item[i]);
    }
}

extern "C" __global__ void permute_rows(
    const ELEMENT* __restrict__ x,      // [gridDim.x][hidden]
    const int* __restrict__ token_row,  // [gridDim.x][top_k]
    ELEMENT* __restrict__ rows,         // [gridDim.x * top_k][hidden]
    int hidden, int top_k) {
    const int token = blockIdx.x;
    for (int column = threadIdx.x * PACK; column < hidden; column += blockDim.x * PACK) {
        const Elements elements = chip::load<PACK>(x + static_cast<long long>(token) * hidden + column);
        for (int k = 0; k < top_k; ++k) {
            const long long row = token_row[token * top_k + k];
            chip::store(rows + row * hidden + column, elements);
        }
    }
}

extern "C" __global__ void __launch_bounds__(MOST_THREADS, BLOCKS) combine_rows(
    const ELEMENT* __restrict__ rows,      // [gridDim.x * top_k][hidden]
    const int* __restrict__ token_row,     // [gridDim.x][top_k]
    const float* __restrict__ row_weight,  // [gridDim.x * top_k]
    ELEMENT* __restrict__ y,               // [gridDim.x][hidden]
    int hidden, int top_k) {
    const int token = blockIdx.x;
    for (int column = threadIdx.x * PACK; column < hidden; column += blockDim.x * PACK) {
        Sum<ELEMENT> sums[PACK];
        const int* row = token_row + token * top_k;
        int left = top_k;
        for (; left > BATCH; left -= BATCH, row += BATCH) add_rows<BATCH>(sums, row, row_weight, rows + column, hidden);
        switch (left) {
            case 8: add_rows<8>(sums, row, row_weight, rows + column, hidden); break;
            case 7: add_rows<7>(sums, row, row_weight, rows + column, hidden); break;
            case 6: add_rows<6>(sums, row, row_weight, rows + column, hidden); break;
            case 5: add_rows<5>(sums, row, row_weight, rows + column, hidden); break;
            case 4: add_rows<4>(sums, row, row_weight, rows + column, hidden); break;
            case 3: add_rows<3>(sums, row, row_weight, rows + column, hidden); break;
            case 2: add_rows<2>(sums, row, row_weight, rows + column, hidden); break;
            case 1: add_rows<1>(sums, row, row_weight, rows + column, hidden); break;
        }
        Elements result;
#pragma unroll
        for (int i = 0; i < PACK; ++i) result.item[i] = sums[i].rounded();
        chip::store(y + static_cast<long long>(token) * hidden + column, result);
    }
}
