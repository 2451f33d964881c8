// The host twin of dispatch/cuda/hopper.cuh: the same names for g++, on top of the runtime in host.h.
#pragma once

#include <wrappers.cuh>

namespace chip {

constexpr int WARPGROUP = 128;

using Barrier = unsigned long long;

inline void barrier_init(Barrier* barrier, int arrivals, CHIP_SITE) { host::barrier_init(barrier, arrivals, site); }

inline void barrier_init_fence() { host::barrier_init_fence(); }

inline void barrier_arrive(Barrier* barrier, int arrivals = 1, CHIP_SITE) {
    host::barrier_arrive(barrier, arrivals, 0, site);
}

inline void barrier_arrive_expect(Barrier* barrier, int bytes, CHIP_SITE) {
    host::barrier_arrive(barrier, 1, bytes, site);
}

inline void barrier_wait(Barrier* barrier, unsigned parity, CHIP_SITE) { host::barrier_wait(barrier, parity, site); }

struct alignas(64) TensorMap {
    host::TensorMap host;
    unsigned char rest[128 - sizeof(host::TensorMap)];
};

inline void prefetch_tensor_map(const TensorMap*) {}

inline void tma_load_2d(void* shared, const TensorMap* map, Barrier* barrier, int column, int line, CHIP_SITE) {
    host::tma_load_2d(shared, map->host, barrier, column, line, site);
}

inline void async_proxy_fence() { host::async_proxy_fence(); }

inline void named_barrier_sync(int id, int threads, CHIP_SITE) { host::named_barrier(id, threads, true, site); }

inline void named_barrier_arrive(int id, int threads, CHIP_SITE) { host::named_barrier(id, threads, false, site); }

template <int COUNT>
void registers_take(CHIP_SITE) {
    host::registers_change(COUNT, site);
}

template <int COUNT>
void registers_give(CHIP_SITE) {
    host::registers_change(COUNT, site);
}

inline void previous_grid_wait() { host::previous_grid_wait(); }

inline void next_grid_may_start() { host::next_grid_may_start(); }

inline unsigned long long matrix_descriptor(const void* shared, unsigned leading, unsigned stride, host::Site site) {
    const unsigned long long address = host::shared_offset(shared, site) >> 4;
    return address | (unsigned long long)(leading >> 4) << 16 | (unsigned long long)(stride >> 4) << 32 | 1ull << 62;
}

inline unsigned long long matrix_by_lines(const void* shared, CHIP_SITE) {
    return matrix_descriptor(shared, 16, 1024, site);
}

inline unsigned long long matrix_by_columns(const void* shared, unsigned block_bytes, CHIP_SITE) {
    return matrix_descriptor(shared, block_bytes, 1024, site);
}

inline void wgmma_fence(CHIP_SITE) { host::wgmma_fence(site); }

inline void wgmma_commit(CHIP_SITE) { host::wgmma_commit(site); }

template <int N>
void wgmma_wait(CHIP_SITE) {
    host::wgmma_wait(N, site);
}

template <int COUNT>
void wgmma_finished(float (&)[COUNT]) {}

template <typename T, int N, bool B_BY_COLUMNS, bool A_BY_COLUMNS>
void wgmma(float (&d)[N / 2], unsigned long long a, unsigned long long b, bool add, host::Site site) {
    static_assert(std::is_same_v<T, __half> || std::is_same_v<T, __nv_bfloat16>);
    static_assert(N == 8 || N == 16 || N == 32 || N == 64 || N == 128 || N == 256);
    host::wgmma(d, {a, b, N, add, A_BY_COLUMNS, B_BY_COLUMNS, std::is_same_v<T, __nv_bfloat16>}, site);
}

template <typename T, int N, bool B_BY_COLUMNS, bool A_BY_COLUMNS = false>
void wgmma(float (&d)[N / 2], unsigned long long a, unsigned long long b, CHIP_SITE) {
    wgmma<T, N, B_BY_COLUMNS, A_BY_COLUMNS>(d, a, b, true, site);
}

template <typename T, int N, bool B_BY_COLUMNS, bool A_BY_COLUMNS = false>
void wgmma_first(float (&d)[N / 2], unsigned long long a, unsigned long long b, CHIP_SITE) {
    wgmma<T, N, B_BY_COLUMNS, A_BY_COLUMNS>(d, a, b, false, site);
}

}  // namespace chip
