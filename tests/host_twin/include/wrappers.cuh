// The host twin of dispatch/cuda/wrappers.cuh: the same names for g++, on top of the runtime in host.h.
//
// The kernel's own loads and stores are checked too: it is compiled with -fsanitize=thread, and the runtime stands in
// for the sanitizer's hooks. A __shared__ variable becomes thread_local, which puts all of them, and nothing else,
// into one segment the runtime can find; the host runs one block at a time on one thread.
#pragma once

#include <math.h>

#include <type_traits>
#include <utility>

#include "host.h"
#include "numbers.h"

#define __global__ __attribute__((visibility("default")))
#define __device__
#define __host__
#define __shared__ thread_local
#define __constant__ const
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(bytes) __attribute__((aligned(bytes)))
#define threadIdx (::chip::host::thread_position())
#define blockIdx (::chip::host::block_position())
#define blockDim (::chip::host::block_shape())
#define gridDim (::chip::host::grid_shape())

#define CHIP_SITE ::chip::host::Site site = {__builtin_FILE(), __builtin_LINE()}

template <typename T>
constexpr T min(T a, T b) {
    return b < a ? b : a;
}

template <typename T>
constexpr T max(T a, T b) {
    return a < b ? b : a;
}

namespace chip {

constexpr int WARP = 32;
constexpr unsigned ALL_LANES = 0xffffffffu;

inline int thread_index() {
    const uint3 at = threadIdx;
    const uint3 shape = blockDim;
    return int(at.x + shape.x * (at.y + shape.y * at.z));
}

inline int lane_index() { return thread_index() % WARP; }

inline int warp_index() { return thread_index() / WARP; }

inline void block_barrier(CHIP_SITE) { host::block_barrier(site); }

inline void warp_barrier(CHIP_SITE) { host::warp_barrier(site); }

template <typename T>
T* dynamic_shared() {
    return static_cast<T*>(host::dynamic_shared_memory());
}

template <typename T, int N>
struct alignas(sizeof(T) * N) Pack {
    T item[N];
};

template <int N, typename T>
Pack<T, N> load(const T* pointer, CHIP_SITE) {
    host::check_alignment(pointer, sizeof(Pack<T, N>), site);
    return *reinterpret_cast<const Pack<T, N>*>(pointer);
}

template <typename T, int N>
void store(T* pointer, const Pack<T, N>& pack, CHIP_SITE) {
    host::check_alignment(pointer, sizeof(Pack<T, N>), site);
    *reinterpret_cast<Pack<T, N>*>(pointer) = pack;
}

inline void store_16(void* global, const unsigned (&words)[4], CHIP_SITE) {
    store(static_cast<unsigned*>(global), Pack<unsigned, 4>{words[0], words[1], words[2], words[3]}, site);
}

inline void cp_async_16(void* shared, const void* global, int source_bytes = 16, CHIP_SITE) {
    host::cp_async_16(shared, global, source_bytes, site);
}

inline void cp_async_commit() { host::cp_async_commit(); }

template <int N>
void cp_async_wait(CHIP_SITE) {
    host::cp_async_wait(N, site);
}

namespace host {

template <typename T>
T shuffle_as(T value, Shuffle how, int parameter, Site site) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8);
    unsigned long long bits = 0;
    memcpy(&bits, &value, sizeof value);
    bits = shuffle(bits, how, parameter, site);
    memcpy(&value, &bits, sizeof value);
    return value;
}

}  // namespace host

template <typename T>
T shuffle(T value, int lane, CHIP_SITE) {
    return host::shuffle_as(value, host::Shuffle::lane, lane, site);
}

template <typename T>
T shuffle_xor(T value, int mask, CHIP_SITE) {
    return host::shuffle_as(value, host::Shuffle::exclusive_or, mask, site);
}

template <typename T>
T shuffle_up(T value, int distance, CHIP_SITE) {
    return host::shuffle_as(value, host::Shuffle::up, distance, site);
}

template <typename T>
T shuffle_down(T value, int distance, CHIP_SITE) {
    return host::shuffle_as(value, host::Shuffle::down, distance, site);
}

inline unsigned ballot(bool predicate, CHIP_SITE) { return host::ballot(predicate, site); }

inline unsigned match_any(int value, CHIP_SITE) { return host::match_any(value, site); }

inline unsigned lanes_below() { return (1u << lane_index()) - 1; }

inline int popcount(unsigned bits) { return __builtin_popcount(bits); }

template <typename T>
__attribute__((no_sanitize_thread)) T atomic_add(T* address, std::common_type_t<T> value, CHIP_SITE) {
    static_assert(std::is_same_v<T, int> || std::is_same_v<T, unsigned> || std::is_same_v<T, float>);
    host::check_atomic(address, sizeof(T), site);
    const T old = *address;
    *address = old + value;
    return old;
}

inline float to_float(float value) { return value; }

inline float to_float(__half value) { return host::widen(value); }

inline float to_float(__nv_bfloat16 value) { return host::widen(value); }

template <typename T>
T from_float(float value) {
    if constexpr (std::is_same_v<T, __half>) {
        return host::narrow_to_half(value);
    } else if constexpr (std::is_same_v<T, __nv_bfloat16>) {
        return host::narrow_to_bfloat16(value);
    } else {
        static_assert(std::is_same_v<T, float>);
        return value;
    }
}

inline float multiply_add(float a, float b, float c) { return fmaf(a, b, c); }

inline double multiply_add(double a, double b, double c) { return fma(a, b, c); }

template <typename T>
unsigned pack_pair(float first, float second) {
    return from_float<T>(first).bits | unsigned(from_float<T>(second).bits) << 16;
}

inline float fast_divide(float a, float b) { return a / b; }

inline float fast_exp(float value) { return expf(value); }

inline void ldmatrix_x4(unsigned (&r)[4], const void* shared, CHIP_SITE) { host::ldmatrix_x4(r, shared, false, site); }

inline void ldmatrix_x4_trans(unsigned (&r)[4], const void* shared, CHIP_SITE) {
    host::ldmatrix_x4(r, shared, true, site);
}

inline unsigned transpose_8x8(unsigned pair, CHIP_SITE) { return host::transpose_8x8(pair, site); }

template <typename T>
void mma_m16n8k16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], CHIP_SITE) {
    static_assert(std::is_same_v<T, __half> || std::is_same_v<T, __nv_bfloat16>);
    host::mma_m16n8k16(d, a, b, std::is_same_v<T, __nv_bfloat16>, site);
}

}  // namespace chip
