// Rows to expert order and back, a block for each token; a thread moves PACK neighbouring elements at a time.
//
//   permute_rows  rows[token_row[t][k]] = x[t] for every k: x is read once, whatever K is
//   combine_rows  y[t] = sum over k of row_weight[r] * rows[r], r = token_row[t][k], k = 0 first
//
// Defines: ELEMENT; PACK, which divides `hidden`, with every row starting on a multiple of PACK elements.
#include <wrappers.cuh>

using Elements = chip::Pack<ELEMENT, PACK>;

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

extern "C" __global__ void combine_rows(
    const ELEMENT* __restrict__ rows,      // [gridDim.x * top_k][hidden]
    const int* __restrict__ token_row,     // [gridDim.x][top_k]
    const float* __restrict__ row_weight,  // [gridDim.x * top_k]
    ELEMENT* __restrict__ y,               // [gridDim.x][hidden]
    int hidden, int top_k) {
    const int token = blockIdx.x;
    for (int column = threadIdx.x * PACK; column < hidden; column += blockDim.x * PACK) {
        Sum<ELEMENT> sums[PACK];
#pragma unroll 4
        for (int k = 0; k < top_k; ++k) {
            const long long row = token_row[token * top_k + k];
            const float weight = row_weight[row];
            const Elements elements = chip::load<PACK>(rows + row * hidden + column);
#pragma unroll
            for (int i = 0; i < PACK; ++i) sums[i].add(weight, elements.item[i]);
        }
        Elements result;
#pragma unroll
        for (int i = 0; i < PACK; ++i) result.item[i] = sums[i].rounded();
        chip::store(y + static_cast<long long>(token) * hidden + column, result);
    }
}
