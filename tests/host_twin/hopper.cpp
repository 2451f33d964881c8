// Hopper's barriers and copies: mbarriers, TMA boxes, named barriers; and who knows of whose doings through them. A
// copy happens as late as the kernel allows, when somebody waits for it: a kernel that does not wait meets what a GPU
// would show only sometimes.
#include <algorithm>
#include <map>

#include "runtime.h"

namespace chip::host {

void Knowledge::learn(int agent, uint32_t clock, uint32_t now) {
    if (epoch != now) clocks.clear();
    epoch = now;
    if (clocks.size() <= static_cast<size_t>(agent)) clocks.resize(agent + 1, 0);
    clocks[agent] = std::max(clocks[agent], clock);
}

void Knowledge::learn(const Knowledge& other, uint32_t now) {
    if (other.epoch != now) return;
    if (epoch != now) clocks.clear();
    epoch = now;
    if (clocks.size() < other.clocks.size()) clocks.resize(other.clocks.size(), 0);
    for (size_t i = 0; i < other.clocks.size(); ++i) clocks[i] = std::max(clocks[i], other.clocks[i]);
}

void Thread::tell(Knowledge& others) {
    others.learn(known, block_epoch);
    others.learn(index, clock++, block_epoch);
}

void Thread::learn(const Knowledge& others) {
    known.learn(others, block_epoch);
    ++clock;
}

namespace {

// One box under way to shared memory, line by line; `matrix` is null for a line that lies outside.
struct Line {
    unsigned offset;  // of 16 bytes in dynamic shared memory, before the swizzle
    const unsigned char* source;
};

struct Mbarrier {
    int number = 0;
    int arrivals = 0, pending = 0;
    long long bytes = 0;  // still to come in this phase
    uint32_t phase = 0;
    int initialiser = 0;
    bool fenced = false;
    Knowledge gathered, told;
    std::vector<Line> copies;
};

struct NamedBarrier {
    int threads = 0, arrived = 0;
    Knowledge gathered;
    std::vector<int> waiting;
};

std::map<const void*, Mbarrier> mbarriers;
NamedBarrier named_barriers[16];

Mbarrier& mbarrier_at(const void* address, Site site) {
    const auto found = mbarriers.find(address);
    if (found == mbarriers.end()) {
        fail("unwritten", nullptr, "thread %d uses an mbarrier that nobody initialised, %s:%d", running()->index,
             site.file, site.line);
    }
    Mbarrier& barrier = found->second;
    const Thread& now = *running();
    if (barrier.initialiser != now.index && now.block_epoch == 0) {
        fail("race", nullptr, "thread %d uses an mbarrier before a block barrier after its initialisation, %s:%d",
             now.index, site.file, site.line);
    }
    return barrier;
}

void complete_if_due(Mbarrier& barrier, uint32_t epoch) {
    if (barrier.pending != 0 || barrier.bytes != 0) return;
    ++barrier.phase;
    barrier.pending = barrier.arrivals;
    barrier.gathered.learn(threads_in_block() + barrier.number, barrier.phase, epoch);
    barrier.told = barrier.gathered;
}

void land(Mbarrier& barrier, uint32_t epoch) {
    if (barrier.copies.empty()) return;
    const int agent = threads_in_block() + barrier.number;
    for (const Line& line : barrier.copies) {
        unsigned char* place = dynamic_address(swizzled(line.offset), 16, {"", 0});
        land_box(place, line.source, 16, agent, barrier.phase + 1);
    }
    barrier.bytes -= 16ll * static_cast<long long>(barrier.copies.size());
    barrier.copies.clear();
    complete_if_due(barrier, epoch);
}

}  // namespace

void hopper_begin_block() {
    mbarriers.clear();
    for (NamedBarrier& barrier : named_barriers) barrier = NamedBarrier();
}

bool hopper_end_block(std::string& fault, const char*& kind) {
    for (const auto& [address, barrier] : mbarriers) {
        if (barrier.copies.empty()) continue;
        kind = "in_flight";
        fault = "the block ended with a copy for mbarrier " + std::to_string(barrier.number) + " under way";
        return true;
    }
    for (int id = 0; id < 16; ++id) {
        if (named_barriers[id].arrived == 0) continue;
        kind = "barrier";
        fault = "the block ended with " + std::to_string(named_barriers[id].arrived) + " of " +
                std::to_string(named_barriers[id].threads) + " threads at named barrier " + std::to_string(id);
        return true;
    }
    return false;
}

bool mbarrier_ready(Fibre& fibre) {
    Mbarrier& barrier = mbarriers.at(fibre.barrier);
    if ((barrier.phase & 1) != fibre.parity) return true;
    land(barrier, fibre.thread.block_epoch);
    return (barrier.phase & 1) != fibre.parity;
}

std::string waits_for(const Fibre& fibre) {
    const std::string where = std::string(fibre.site.file) + ":" + std::to_string(fibre.site.line);
    if (fibre.state == State::at_named_barrier) {
        const NamedBarrier& barrier = named_barriers[fibre.named_barrier];
        return "waits at named barrier " + std::to_string(fibre.named_barrier) + " with " +
               std::to_string(barrier.arrived) + " of " + std::to_string(barrier.threads) + " threads, " + where;
    }
    const Mbarrier& barrier = mbarriers.at(fibre.barrier);
    return "waits for mbarrier " + std::to_string(barrier.number) + ", where " + std::to_string(barrier.pending) +
           " arrivals and " + std::to_string(barrier.bytes) + " bytes are missing, " + where;
}

// ---- mbarriers

void barrier_init(const void* address, int arrivals, Site site) {
    check_alignment(address, 8, site);
    shared_offset(static_cast<const unsigned char*>(address) - 8, site);
    Mbarrier barrier;
    barrier.number = static_cast<int>(mbarriers.size());
    barrier.arrivals = barrier.pending = arrivals;
    barrier.initialiser = running()->index;
    if (!mbarriers.emplace(address, barrier).second)
        fail("barrier", nullptr, "an mbarrier is initialised twice, %s:%d", site.file, site.line);
}

void barrier_init_fence() {
    for (auto& [address, barrier] : mbarriers)
        if (barrier.initialiser == running()->index) barrier.fenced = true;
}

void barrier_arrive(const void* address, int arrivals, int bytes, Site site) {
    Mbarrier& barrier = mbarrier_at(address, site);
    if (arrivals > barrier.pending) {
        fail("barrier", nullptr, "thread %d arrives %d times at mbarrier %d, which expects %d more now, %s:%d",
             running()->index, arrivals, barrier.number, barrier.pending, site.file, site.line);
    }
    running()->tell(barrier.gathered);
    barrier.bytes += bytes;
    barrier.pending -= arrivals;
    complete_if_due(barrier, running()->block_epoch);
}

void barrier_wait(const void* address, unsigned parity, Site site) {
    Mbarrier& barrier = mbarrier_at(address, site);
    Fibre& fibre = current_fibre();
    fibre.site = site;
    fibre.barrier = address;
    fibre.parity = parity & 1;
    if ((barrier.phase & 1) == fibre.parity) {
        fibre.state = State::at_mbarrier;
        give_way();
    }
    fibre.thread.learn(barrier.told);
}

// ---- TMA

void tma_load_2d(void* shared, const TensorMap& map, const void* address, int column, int line, Site site) {
    Mbarrier& barrier = mbarrier_at(address, site);
    Thread& thread = *running();
    if (!barrier.fenced) {
        fail("proxy", nullptr, "thread %d copies for mbarrier %d, of which the copy engine may not know yet, %s:%d",
             thread.index, barrier.number, site.file, site.line);
    }
    const unsigned base = shared_offset(shared, site);
    if (base % (8 * LINE_BYTES) != 0)
        fail("misaligned", nullptr, "a box goes to no multiple of 1024 bytes, %s:%d", site.file, site.line);
    const unsigned per_chunk = 16 / map.item_bytes;
    for (unsigned i = 0; i < map.box_lines; ++i) {
        for (unsigned c = 0; c < map.box_columns; c += per_chunk) {
            const long long row = static_cast<long long>(line) + i, at = static_cast<long long>(column) + c;
            const bool inside = row >= 0 && at >= 0 && row < static_cast<long long>(map.lines) &&
                                at < static_cast<long long>(map.columns);
            if (inside && at + per_chunk > static_cast<long long>(map.columns))
                fail("launch", nullptr, "a box ends inside 16 bytes of a line, %s:%d", site.file, site.line);
            const unsigned char* source = map.matrix + (inside ? row * map.line_bytes + at * map.item_bytes : 0);
            if (inside) check(thread, source, 16, Access::read, nullptr);
            const unsigned offset = base + i * LINE_BYTES + c * map.item_bytes;
            check_in_flight(thread, dynamic_address(swizzled(offset), 16, site), 16, nullptr);
            barrier.copies.push_back({offset, inside ? source : nullptr});
        }
    }
}

void async_proxy_fence() { running()->proxy_fences.push_back(running()->clock++); }

// ---- warpgroups

void named_barrier(int id, int threads, bool wait, Site site) {
    if (id < 1 || id > 15 || threads < LANES || threads % LANES != 0 || threads > threads_in_block()) {
        fail("barrier", nullptr, "named barrier %d for %d threads, %s:%d: expected 1 to 15, and whole warps",
             id, threads, site.file, site.line);
    }
    NamedBarrier& barrier = named_barriers[id];
    Fibre& fibre = current_fibre();
    if (barrier.arrived == 0) barrier.threads = threads;
    if (barrier.threads != threads) {
        fail("barrier", nullptr, "named barrier %d is for %d threads here and for %d elsewhere, %s:%d", id, threads,
             barrier.threads, site.file, site.line);
    }
    fibre.thread.tell(barrier.gathered);
    if (wait) barrier.waiting.push_back(fibre.thread.index);
    const bool last = ++barrier.arrived == threads;
    if (last) {
        for (int other : barrier.waiting) {
            fibre_of(other).thread.learn(barrier.gathered);
            fibre_of(other).state = State::ready;
        }
        barrier = NamedBarrier();
    } else if (wait) {
        fibre.site = site;
        fibre.named_barrier = id;
        fibre.state = State::at_named_barrier;
    }
    if (wait) give_way();
}

void registers_change(int count, Site site) {
    Multiply how = {};
    how.n = count;
    warpgroup_step("setmaxnreg", how, site);
    if (count % 8 == 0 && count >= 24 && count <= 256) return;
    fail("launch", nullptr, "%d registers, %s:%d: expected 24 to 256, in eights", count, site.file, site.line);
}

void previous_grid_wait() { running()->previous_grid_done = true; }

void next_grid_may_start() { start_next_grid(); }

}  // namespace chip::host
