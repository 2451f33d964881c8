// What a kernel compiled for the host asks of the runtime (block.cpp, warp.cpp, memory.cpp, hopper.cpp, wgmma.cpp).
#pragma once

struct uint3 {
    unsigned x, y, z;
};

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

namespace chip::host {

// Where in the kernel's source a wrapper was called.
struct Site {
    const char* file;
    int line;
};

// By value: a reference would be one more memory access to check.
uint3 thread_position();
uint3 block_position();
uint3 block_shape();
uint3 grid_shape();

void* dynamic_shared_memory();

void block_barrier(Site site);
void warp_barrier(Site site);

void cp_async_16(void* shared, const void* global, int source_bytes, Site site);
void cp_async_commit();
void cp_async_wait(int groups_left, Site site);

// How each lane finds the lane whose value it receives; `parameter` is a lane, a mask or a distance.
enum class Shuffle { lane, exclusive_or, up, down };
unsigned long long shuffle(unsigned long long value, Shuffle how, int parameter, Site site);
unsigned ballot(bool predicate, Site site);
unsigned match_any(int value, Site site);

// Before an atomic operation on `bytes` bytes, and before a load or store that the chip makes in one piece.
void check_atomic(const void* address, unsigned bytes, Site site);
void check_alignment(const void* address, unsigned bytes, Site site);

// ---- Hopper

// What stands in for the driver's tensor map: a matrix of 16-bit elements and the shape of its boxes. Filled by
// host.py.
struct TensorMap {
    const unsigned char* matrix;
    unsigned long long lines, columns, line_bytes;
    unsigned box_lines, box_columns, item_bytes;
};

void barrier_init(const void* barrier, int arrivals, Site site);
void barrier_init_fence();
void barrier_arrive(const void* barrier, int arrivals, int bytes, Site site);
void barrier_wait(const void* barrier, unsigned parity, Site site);
void tma_load_2d(void* shared, const TensorMap& map, const void* barrier, int column, int line, Site site);
void async_proxy_fence();
void named_barrier(int id, int threads, bool wait, Site site);
void registers_change(int count, Site site);
void previous_grid_wait();
void next_grid_may_start();

unsigned shared_offset(const void* shared, Site site);

// A wgmma as all warps of a warpgroup must issue it: descriptors, columns of B, whether it adds, which operands are
// transposed, the type of their elements.
struct Multiply {
    unsigned long long a, b;
    int n;
    bool add, a_by_columns, b_by_columns, bfloat16;
};
void wgmma_fence(Site site);
void wgmma(float* d, const Multiply& what, Site site);
void wgmma_commit(Site site);
void wgmma_wait(int groups_left, Site site);

void ldmatrix_x4(unsigned* r, const void* shared, bool transposed, Site site);
unsigned transpose_8x8(unsigned pair, Site site);
void mma_m16n8k16(float* d, const unsigned* a, const unsigned* b, bool bfloat16, Site site);

}  // namespace chip::host
