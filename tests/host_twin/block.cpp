// A block of cooperative threads: fibres that run one at a time and give way at barriers and warp collectives.
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <random>
#include <string>

#include "runtime.h"

namespace chip::host {
namespace {

constexpr size_t STACK_BYTES = 128 << 10;
constexpr unsigned CANARY = 0x5eed5eedu;

using Kernel = void (*)(void** arguments);

struct Launch {
    Kernel kernel;
    void** arguments;
    uint3 grid, shape, block;
    uint32_t block_number;
    int threads;
    bool dependent;  // on a grid before it that may still be running
    bool hasty;      // some thread let the next grid start before it had waited for the one before
};

Launch launch;
std::vector<Fibre> fibres;
Fibre* current = nullptr;
unsigned char* stacks = nullptr;
jmp_buf scheduler;
enum { RESUMED = 1, FAILED = 2 };
char fault_kind[32], fault_text[1024];
const void* fault_pc;

enum Order { FORWARD, REVERSE, RANDOM };
int order_of_threads;
std::mt19937 shuffler;

template <typename T>
void put_in_order(std::vector<T>& list) {
    if (order_of_threads == REVERSE) std::reverse(list.begin(), list.end());
    if (order_of_threads == RANDOM) std::shuffle(list.begin(), list.end(), shuffler);
}

void note(const char* kind, const void* pc, const char* format, va_list values) {
    snprintf(fault_kind, sizeof fault_kind, "%s", kind);
    vsnprintf(fault_text, sizeof fault_text, format, values);
    fault_pc = pc;
}

void note(const char* kind, const char* format, ...) {
    va_list values;
    va_start(values, format);
    note(kind, nullptr, format, values);
    va_end(values);
}

void fibre_main() {
    launch.kernel(launch.arguments);
    current->state = State::done;
    _longjmp(scheduler, RESUMED);
}

// Runs one fibre until it gives way. False when it failed; its stack is then simply left.
bool resume(Fibre& fibre) {
    current = &fibre;
    const int back = _setjmp(scheduler);
    if (back == 0) {
        if (current->started) _longjmp(current->context, 1);
        current->started = true;
        static ucontext_t start;
        getcontext(&start);
        start.uc_stack.ss_sp = current->stack;
        start.uc_stack.ss_size = STACK_BYTES;
        start.uc_link = nullptr;
        makecontext(&start, fibre_main, 0);
        setcontext(&start);
    }
    const bool overflow = back == RESUMED && memcmp(current->stack, &CANARY, sizeof CANARY) != 0;
    if (overflow) note("stack", "thread %d used more than %zu bytes of stack", current->thread.index, STACK_BYTES);
    current = nullptr;
    return back == RESUMED && !overflow;
}

// ---- the block

std::string describe(const Fibre& fibre) {
    if (fibre.state == State::done) return "has ended";
    if (fibre.state == State::at_mbarrier || fibre.state == State::at_named_barrier) return waits_for(fibre);
    const char* what = fibre.state == State::at_barrier ? "the block barrier, " : "a warp collective, ";
    return "waits at " + std::string(what) + std::string(fibre.site.file) + ":" + std::to_string(fibre.site.line);
}

// Nobody can go on: either everybody is at one barrier, or it is one that not everybody reaches.
bool pass_barrier() {
    const Fibre* waiting = &fibres[0];
    for (int i = 0; i < launch.threads && waiting->state == State::done; ++i) waiting = &fibres[i];
    const Fibre* other = nullptr;
    for (int i = 0; i < launch.threads && other == nullptr; ++i) {
        const bool same = fibres[i].state == waiting->state && fibres[i].site.line == waiting->site.line;
        if (!same) other = &fibres[i];
    }
    for (int i = 0; i < launch.threads; ++i) {
        const Fibre& stuck = fibres[i];
        if (stuck.state != State::at_mbarrier && stuck.state != State::at_named_barrier) continue;
        const Fibre* another = nullptr;  // that waits for something else, if there is one
        for (int j = 0; j < launch.threads; ++j)
            if (fibres[j].state != State::done && fibres[j].site.line != stuck.site.line) another = &fibres[j];
        note("barrier", "nobody can go on: thread %d %s%s%s", i, describe(stuck).c_str(),
             another == nullptr ? "" : ("; thread " + std::to_string(another->thread.index) + " ").c_str(),
             another == nullptr ? "" : describe(*another).c_str());
        return false;
    }
    if (other == nullptr && waiting->state == State::at_collective) {
        note("collective", "a collective needs whole warps, and the block has %d threads", launch.threads);
        return false;
    }
    if (other != nullptr) {
        const bool warps = waiting->state == State::at_collective || other->state == State::at_collective;
        note(warps ? "collective" : "barrier", "not everybody reaches it: thread %d %s; thread %d %s",
             waiting->thread.index, describe(*waiting).c_str(), other->thread.index, describe(*other).c_str());
        return false;
    }
    for (int i = 0; i < launch.threads; ++i) {
        fibres[i].state = State::ready;
        ++fibres[i].thread.block_epoch;
    }
    memory_next_epoch();
    return true;
}

// What a block must not leave behind: copies under way, half a named barrier, warps behind others of their warpgroup.
bool leaves_nothing() {
    std::string fault;
    const char* kind = nullptr;
    if (!hopper_end_block(fault, kind) && !warpgroups_end_block(fault, kind)) return true;
    note(kind, "%s", fault.c_str());
    return false;
}

bool run_block() {
    memory_begin_block();
    hopper_begin_block();
    warpgroups_begin_block();
    for (int i = 0; i < launch.threads; ++i) {
        fibres[i] = Fibre();
        fibres[i].thread.index = i;
        fibres[i].thread.previous_grid_done = !launch.dependent;
        fibres[i].stack = stacks + size_t(i) * STACK_BYTES;
        memcpy(fibres[i].stack, &CANARY, sizeof CANARY);
    }
    while (true) {
        std::vector<int> ready;
        bool all_done = true;
        for (int i = 0; i < launch.threads; ++i) {
            if (fibres[i].state == State::at_mbarrier && mbarrier_ready(fibres[i])) fibres[i].state = State::ready;
            if (fibres[i].state == State::ready) ready.push_back(i);
            all_done = all_done && fibres[i].state == State::done;
        }
        if (all_done) return leaves_nothing();
        if (ready.empty() && !pass_barrier()) return false;
        put_in_order(ready);
        for (int i : ready)
            if (!resume(fibres[i])) return false;
    }
}

uint3 unfold(unsigned number, uint3 shape) {
    return {number % shape.x, number / shape.x % shape.y, number / shape.x / shape.y};
}

}  // namespace

void give_way() {
    if (_setjmp(current->context) == 0) _longjmp(scheduler, RESUMED);
}

Fibre& current_fibre() { return *current; }

Fibre& fibre_of(int thread) { return fibres[thread]; }

int threads_in_block() { return launch.threads; }

void start_next_grid() { launch.hasty = launch.hasty || !current->thread.previous_grid_done; }

Fibre* whole_warp(const Fibre& fibre) {
    const int first = fibre.thread.warp() * LANES;
    return first + LANES <= launch.threads ? &fibres[first] : nullptr;
}

Thread* running() { return current == nullptr ? nullptr : &current->thread; }

uint32_t running_block() { return launch.block_number; }

bool on_own_stack(const void* address) {
    const uintptr_t offset = reinterpret_cast<uintptr_t>(address) - reinterpret_cast<uintptr_t>(current->stack);
    return offset < STACK_BYTES;
}

void fail(const char* kind, const void* pc, const char* format, ...) {
    va_list values;
    va_start(values, format);
    note(kind, pc, format, values);
    va_end(values);
    _longjmp(scheduler, FAILED);
}

uint3 thread_position() { return unfold(current->thread.index, launch.shape); }
uint3 block_position() { return launch.block; }
uint3 block_shape() { return launch.shape; }
uint3 grid_shape() { return launch.grid; }

void block_barrier(Site site) {
    current->site = site;
    current->state = State::at_barrier;
    give_way();
}

void cp_async_16(void* shared, const void* global, int source_bytes, Site site) {
    Thread& thread = current->thread;
    const void* pc = __builtin_return_address(0);
    if (reinterpret_cast<uintptr_t>(shared) % 16 != 0 || reinterpret_cast<uintptr_t>(global) % 16 != 0 ||
        source_bytes < 0 || source_bytes > 16) {
        fail("misaligned", pc, "cp.async at %s:%d: addresses must be multiples of 16 and 0 to 16 bytes read, not %d",
             site.file, site.line, source_bytes);
    }
    if (source_bytes > 0) check(thread, global, source_bytes, Access::read, pc);
    check_in_flight(thread, shared, 16, pc);
    thread.open_copies.push_back(
        {static_cast<unsigned char*>(shared), static_cast<const unsigned char*>(global), source_bytes});
}

void cp_async_commit() {
    Thread& thread = current->thread;
    thread.groups.push_back(std::move(thread.open_copies));
    thread.open_copies.clear();
}

void cp_async_wait(int groups_left, Site) {
    Thread& thread = current->thread;
    while (thread.groups.size() > static_cast<size_t>(groups_left)) {
        for (const Copy& copy : thread.groups.front()) land(thread, copy);
        thread.groups.erase(thread.groups.begin());
    }
}

}  // namespace chip::host

using namespace chip::host;

#define EXPORTED extern "C" __attribute__((visibility("default")))

// Runs every block of the grid. 0, or 1 with "kind\naddress in the kernel\ntext" in message.
EXPORTED int chip_launch(Kernel kernel, void** arguments, const Buffer* buffers, int buffer_count, const unsigned* grid,
                         const unsigned* shape, size_t shared_bytes, int dependent, int order, unsigned seed,
                         char* message, size_t capacity) {
    if (stacks == nullptr) {
        const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
        const size_t below = 4 * STACK_BYTES;  // room for the first thread's stack to overflow into, and be found out
        void* arena = mmap(nullptr, below + MOST_THREADS * STACK_BYTES, PROT_READ | PROT_WRITE, flags, -1, 0);
        stacks = static_cast<unsigned char*>(arena) + below;
        fibres.resize(MOST_THREADS);
    }
    launch = {kernel, arguments, {grid[0], grid[1], grid[2]}, {shape[0], shape[1], shape[2]}, {}, 0,
              static_cast<int>(shape[0] * shape[1] * shape[2]), dependent != 0, false};
    order_of_threads = order;
    shuffler.seed(seed);
    if (const char* refused = memory_begin_launch(buffers, buffer_count, shared_bytes)) {
        snprintf(message, capacity, "launch\n0\n%s", refused);
        return 1;
    }
    std::vector<uint32_t> blocks(size_t(grid[0]) * grid[1] * grid[2]);
    for (size_t i = 0; i < blocks.size(); ++i) blocks[i] = static_cast<uint32_t>(i);
    put_in_order(blocks);
    for (uint32_t number : blocks) {
        launch.block_number = number;
        launch.block = unfold(number, launch.grid);
        if (run_block()) continue;
        snprintf(message, capacity, "%s\n%p\nblock (%u, %u, %u): %s", fault_kind, fault_pc, launch.block.x,
                 launch.block.y, launch.block.z, fault_text);
        return 1;
    }
    return 0;
}

// Whether the last grid let the next one start before it had itself waited for the one before.
EXPORTED int chip_was_hasty() { return launch.hasty; }
