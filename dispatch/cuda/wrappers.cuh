// The one door between our CUDA C++ and the chip; what only Hopper has is in hopper.cuh.
//
// Every .cu file says `#include <wrappers.cuh>`, or <hopper.cuh>, which includes it (angle brackets: the include path
// decides) and reaches hardware instructions, warp collectives, barriers and atomics only through namespace `chip`.
// tests/host_twin holds a second header of the same name, found first there, that does the same on the host: what keeps
// to this header runs on both.
//
//   threads     thread_index, lane_index, warp_index, block_barrier, warp_barrier
//   memory      dynamic_shared, Pack, load, store, store_16
//   cp.async    cp_async_16, cp_async_commit, cp_async_wait
//   warp        shuffle, shuffle_xor, shuffle_up, shuffle_down, ballot, match_any, lanes_below,
//               popcount
//   atomics     atomic_add
//   numbers     to_float, from_float, pack_pair, multiply_add, fast_divide, fast_exp
//   tensor core ldmatrix_x4, ldmatrix_x4_trans, transpose_8x8, mma_m16n8k16
//
// Warp collectives take the whole warp: all 32 lanes must reach the call, and blocks are multiples of 32 threads.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace chip {

constexpr int WARP = 32;
constexpr unsigned ALL_LANES = 0xffffffffu;

// ---- threads

// Position in a block of any shape, x fastest.
__device__ __forceinline__ int thread_index() {
    return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
}

__device__ __forceinline__ int lane_index() { return thread_index() % WARP; }

__device__ __forceinline__ int warp_index() { return thread_index() / WARP; }

// Every thread of the block arrives; what they wrote to memory is then seen by all of them.
__device__ __forceinline__ void block_barrier() { __syncthreads(); }

__device__ __forceinline__ void warp_barrier() { __syncwarp(); }

// ---- memory

// The launch's dynamic shared memory, aligned to 1024 bytes (what a 128-byte swizzle needs).
template <typename T>
__device__ __forceinline__ T* dynamic_shared() {
    extern __shared__ __align__(1024) unsigned char dynamic_shared_memory[];
    return reinterpret_cast<T*>(dynamic_shared_memory);
}

// N neighbours moved in one access: a Pack<__half, 8> is one 16-byte load or store.
template <typename T, int N>
struct __align__(sizeof(T) * N) Pack {
    T item[N];
};

// pointer must be a multiple of sizeof(T) * N.
template <int N, typename T>
__device__ __forceinline__ Pack<T, N> load(const T* pointer) {
    return *reinterpret_cast<const Pack<T, N>*>(pointer);
}

template <typename T, int N>
__device__ __forceinline__ void store(T* pointer, const Pack<T, N>& pack) {
    *reinterpret_cast<Pack<T, N>*>(pointer) = pack;
}

// 16 bytes to global memory in one store, which the compiler cannot take apart; pointer must be a multiple of 16.
__device__ __forceinline__ void store_16(void* global, const unsigned (&words)[4]) {
    asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};\n" ::"l"(global), "r"(words[0]), "r"(words[1]),
                 "r"(words[2]), "r"(words[3])
                 : "memory");
}

// ---- cp.async: 16 bytes from global to shared memory while the thread goes on

// Both addresses are multiples of 16. Only source_bytes (0 to 16) are read; the rest of the destination becomes zero,
// so an edge costs no branch: pass 0 and any valid pointer.
__device__ __forceinline__ void cp_async_16(void* shared, const void* global, int source_bytes = 16) {
    const unsigned destination = static_cast<unsigned>(__cvta_generic_to_shared(shared));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(destination), "l"(global), "r"(source_bytes)
                 : "memory");
}

// Closes the group of copies this thread started since the last commit.
__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }

// Waits until at most N of this thread's youngest groups are still under way. Other threads' copies need a barrier too.
template <int N>
__device__ __forceinline__ void cp_async_wait() {
    asm volatile("cp.async.wait_group %0;\n" ::"n"(N) : "memory");
}

// ---- warp collectives

template <typename T>
__device__ __forceinline__ T shuffle(T value, int lane) {
    return __shfl_sync(ALL_LANES, value, lane);
}

template <typename T>
__device__ __forceinline__ T shuffle_xor(T value, int mask) {
    return __shfl_xor_sync(ALL_LANES, value, mask);
}

// The value of the lane `distance` below; the lowest lanes, which have none, keep their own.
template <typename T>
__device__ __forceinline__ T shuffle_up(T value, int distance) {
    return __shfl_up_sync(ALL_LANES, value, distance);
}

template <typename T>
__device__ __forceinline__ T shuffle_down(T value, int distance) {
    return __shfl_down_sync(ALL_LANES, value, distance);
}

// Bit l is set when lane l's predicate holds.
__device__ __forceinline__ unsigned ballot(bool predicate) { return __ballot_sync(ALL_LANES, predicate); }

// Bit l is set when lane l has the same value as this lane.
__device__ __forceinline__ unsigned match_any(int value) { return __match_any_sync(ALL_LANES, value); }

// Bits below this lane's.
__device__ __forceinline__ unsigned lanes_below() { return (1u << lane_index()) - 1; }

__device__ __forceinline__ int popcount(unsigned bits) { return __popc(bits); }

// ---- atomics, on shared or global memory; return the old value

__device__ __forceinline__ int atomic_add(int* address, int value) { return atomicAdd(address, value); }

__device__ __forceinline__ unsigned atomic_add(unsigned* address, unsigned value) { return atomicAdd(address, value); }

__device__ __forceinline__ float atomic_add(float* address, float value) { return atomicAdd(address, value); }

// ---- numbers: arithmetic is float; __half and __nv_bfloat16 are storage, rounded to nearest even

__device__ __forceinline__ float to_float(float value) { return value; }

__device__ __forceinline__ float to_float(__half value) { return __half2float(value); }

__device__ __forceinline__ float to_float(__nv_bfloat16 value) { return __bfloat162float(value); }

template <typename T>
__device__ __forceinline__ T from_float(float value);

template <>
__device__ __forceinline__ float from_float<float>(float value) {
    return value;
}

template <>
__device__ __forceinline__ __half from_float<__half>(float value) {
    return __float2half_rn(value);
}

template <>
__device__ __forceinline__ __nv_bfloat16 from_float<__nv_bfloat16>(float value) {
    return __float2bfloat16_rn(value);
}

// a * b + c with one rounding, so that host and device agree to the bit.
__device__ __forceinline__ float multiply_add(float a, float b, float c) { return __fmaf_rn(a, b, c); }

__device__ __forceinline__ double multiply_add(double a, double b, double c) { return __fma_rn(a, b, c); }

// Two numbers rounded to T (__half or __nv_bfloat16) in one register, the first in its low half.
template <typename T>
__device__ __forceinline__ unsigned pack_pair(float first, float second);

template <>
__device__ __forceinline__ unsigned pack_pair<__half>(float first, float second) {
    const __half2 pair = __floats2half2_rn(first, second);
    return *reinterpret_cast<const unsigned*>(&pair);
}

template <>
__device__ __forceinline__ unsigned pack_pair<__nv_bfloat16>(float first, float second) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(first, second);
    return *reinterpret_cast<const unsigned*>(&pair);
}

// a / b to about 2 units in the last place; 0 for b beyond 2^126.
__device__ __forceinline__ float fast_divide(float a, float b) { return __fdividef(a, b); }

// exp to about 2 units in the last place of a float.
__device__ __forceinline__ float fast_exp(float value) { return __expf(value); }

// ---- tensor core: fragments of 16-bit elements, two to a register

// Four 8 x 8 matrices: lane l gives the address of row l % 8 of matrix l / 8 (16 bytes, a multiple of 16). Register i
// holds, of matrix i, row l / 4, columns 2 (l % 4) and that + 1.
__device__ __forceinline__ void ldmatrix_x4(unsigned (&r)[4], const void* shared) {
    const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(shared));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
}

// The same with every matrix transposed: register i holds column l / 4, rows 2 (l % 4) and that + 1.
__device__ __forceinline__ void ldmatrix_x4_trans(unsigned (&r)[4], const void* shared) {
    const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(shared));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
}

// An 8 x 8 matrix that lies across the warp: lane l gives row l / 4, columns 2 (l % 4) and that + 1, the first in the
// low half, and gets the same place of the transposed matrix.
__device__ __forceinline__ unsigned transpose_8x8(unsigned pair) {
    unsigned transposed;
    asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;\n" : "=r"(transposed) : "r"(pair));
    return transposed;
}

// d [16 x 8, float] += a [16 x 16, row major] b [16 x 8, column major]. With g = lane / 4 and t = lane % 4:
//   a[0] row g,     k 2t, 2t + 1       a[1] row g + 8, k 2t, 2t + 1
//   a[2] row g,     k 2t + 8, 2t + 9   a[3] row g + 8, k 2t + 8, 2t + 9
//   b[0] column g,  k 2t, 2t + 1       b[1] column g,  k 2t + 8, 2t + 9
//   d[0], d[1] row g, columns 2t, 2t + 1     d[2], d[3] row g + 8, the same columns
template <typename T>
__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]);

template <>
__device__ __forceinline__ void mma_m16n8k16<__half>(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};\n"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

template <>
__device__ __forceinline__ void mma_m16n8k16<__nv_bfloat16>(float (&d)[4], const unsigned (&a)[4],
                                                            const unsigned (&b)[2]) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};\n"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

}  // namespace chip
