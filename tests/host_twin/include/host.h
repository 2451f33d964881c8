// What a kernel compiled for the host asks of the runtime (block.cpp, memory.cpp).
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

void ldmatrix_x4(unsigned* r, const void* shared, bool transposed, Site site);
void mma_m16n8k16(float* d, const unsigned* a, const unsigned* b, bool bfloat16, Site site);

}  // namespace chip::host
