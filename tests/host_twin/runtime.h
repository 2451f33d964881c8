// What block.cpp (fibres, barriers, copies), warp.cpp (collectives) and memory.cpp (who may touch which byte, and when) know
// of each other.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

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

// A thread of the running block, as far as the order of its memory accesses goes.
struct Thread {
    int index = 0;
    uint32_t block_epoch = 0;  // block barriers passed
    uint32_t warp_epoch = 0;   // warp barriers passed
    std::vector<Copy> open_copies;
    std::vector<std::vector<Copy>> groups;  // oldest first

    int warp() const { return index / LANES; }
};

enum class State { ready, at_barrier, at_collective, done };

struct Lane;  // warp.cpp

// A thread as something that runs and waits.
struct Fibre {
    Thread thread;
    State state = State::ready;
    bool started = false;
    jmp_buf context;
    Site site = {"", 0};  // of the barrier or collective it waits at
    Lane* lane = nullptr;
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
    int argument;
};

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

// Before a launch, and before each of its blocks: nothing is written, nobody has touched anything.
const char* memory_begin_launch(const Buffer* buffers, int count, size_t dynamic_bytes);
void memory_begin_block();

}  // namespace chip::host
