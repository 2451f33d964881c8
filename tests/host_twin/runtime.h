// What block.cpp (fibres, barriers, copies), warp.cpp (collectives), hopper.cpp (mbarriers, TMA), wgmma.cpp and
// memory.cpp (who may touch which byte, and when) know of each other.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <string>
#include <vector>

#include "include/host.h"

namespace chip::host {

constexpr int LANES = 32;
constexpr int MOST_THREADS = 1024;
constexpr size_t MOST_SHARED = 232448;  // 227 KiB, what a block of Hopper can have

// One 16-byte copy that was started and is not yet waited for.
struct Copy {
    unsigned char* shared;
    const unsigned char* global;
    int source_bytes;
};

// Up to which clock of every agent its doings come before those of whoever knows this. Agents are the block's threads
// and, behind them, the mbarriers, which stand for the copies that complete on them. What was known before a block
// barrier needs no remembering: everything before it comes before everything after it.
struct Knowledge {
    uint32_t epoch = 0;  // block barriers passed when this was learnt
    std::vector<uint32_t> clocks;

    uint32_t of(int agent, uint32_t now) const {
        return epoch == now && static_cast<size_t>(agent) < clocks.size() ? clocks[agent] : 0;
    }
    void learn(int agent, uint32_t clock, uint32_t now);
    void learn(const Knowledge& other, uint32_t now);
};

// One wgmma that was started; whose sums and operands it works on.
struct Product {
    float* d;
    Multiply what;
    Site site;
    uint64_t seen;  // what was known of its operands when it was started
};

// A thread of the running block, as far as the order of its memory accesses goes.
struct Thread {
    int index = 0;
    uint32_t block_epoch = 0;  // block barriers passed
    uint32_t clock = 1;        // goes up whenever this thread tells others something or learns from them
    Knowledge known;
    std::vector<uint32_t> proxy_fences;  // clocks
    std::vector<Copy> open_copies;
    std::vector<std::vector<Copy>> groups;  // oldest first
    bool sums_fenced = false;
    std::vector<Product> open_products;
    std::vector<std::vector<Product>> product_groups;  // oldest first
    size_t warpgroup_steps = 0;  // instructions made together with its warpgroup
    bool previous_grid_done = true;

    int warp() const { return index / LANES; }
    void tell(Knowledge& others);         // all it did so far, and all it knows
    void learn(const Knowledge& others);
};

enum class State { ready, at_barrier, at_collective, at_mbarrier, at_named_barrier, done };

struct Lane;  // warp.cpp

// A thread as something that runs and waits.
struct Fibre {
    Thread thread;
    State state = State::ready;
    bool started = false;
    jmp_buf context;
    Site site = {"", 0};  // of the barrier or collective it waits at
    Lane* lane = nullptr;
    const void* barrier = nullptr;  // the mbarrier it waits for, and the parity of the phase
    unsigned parity = 0;
    int named_barrier = 0;
    unsigned char* stack = nullptr;
};

Fibre& current_fibre();
Fibre* whole_warp(const Fibre& fibre);  // its 32 lanes, or null where the block ends before
void give_way();                        // until somebody makes the state ready again

// A buffer the launch was given.
struct Buffer {
    uintptr_t begin;
    size_t bytes;
    int writable;
    int settled;  // may be read before the grid before this one has ended
    int argument;
};

int threads_in_block();
void start_next_grid();  // this block does not keep it from starting
Fibre& fibre_of(int thread);

// No lane of a warp goes on before all have come. They learn nothing of each other's memory accesses by that.
void warp_together(Site site);

// What is running; null outside a launch.
Thread* running();
uint32_t running_block();

// A thread's own stack is its registers and local arrays: nobody else's business, so never checked.
bool on_own_stack(const void* address);

// Ends the launch: the message reaches Python as HostFaultError(kind). `pc` is a return address in the kernel, or null.
[[noreturn]] void fail(const char* kind, const void* pc, const char* format, ...) __attribute__((format(printf, 3, 4)));

enum class Access { read, write, atomic };

// Every byte of [address, address + bytes) as `thread` touches it now; fails on the first fault.
void check(Thread& thread, const void* address, size_t bytes, Access access, const void* pc);

bool is_shared(const void* address, size_t bytes);

// A cp.async's destination: written as of now, in flight until `land`.
void check_in_flight(Thread& thread, const void* address, size_t bytes, const void* pc);
void land(Thread& thread, const Copy& copy);

// A box of TMA: in flight until `land_box`, which makes the bytes the doing of `agent` at `clock`.
void land_box(unsigned char* shared, const unsigned char* global, size_t bytes, int agent, uint32_t clock);

// The 128-byte swizzle of an offset in shared memory: eight lines of LINE_BYTES make its pattern.
constexpr int LINE_BYTES = 128;
inline unsigned swizzled(unsigned offset) { return offset ^ (offset >> 7 & 7) << 4; }

// 16 bytes of shared memory read by wgmma: like a read, and what wrote them must be seen by the async proxy. Gives a
// number for who wrote them when.
uint64_t check_operand(Thread& thread, const unsigned char* address, Site site);

unsigned char* dynamic_address(unsigned offset, size_t bytes, Site site);

// hopper.cpp, for the scheduler: whether a fibre that waits at an mbarrier can go on (lands what it waits for); what
// keeps it waiting; what is left over at the end of a block, as a fault, false for nothing.
bool mbarrier_ready(Fibre& fibre);
std::string waits_for(const Fibre& fibre);
void hopper_begin_block();
bool hopper_end_block(std::string& fault, const char*& kind);

// wgmma.cpp: the same of the instructions that the warps of a warpgroup must all issue, in one order.
void warpgroups_begin_block();
bool warpgroups_end_block(std::string& fault, const char*& kind);
void warpgroup_step(const char* instruction, const Multiply& what, Site site);

void memory_next_epoch();

// Before a launch, and before each of its blocks: nothing is written, nobody has touched anything.
const char* memory_begin_launch(const Buffer* buffers, int count, size_t dynamic_bytes);
void memory_begin_block();

}  // namespace chip::host
