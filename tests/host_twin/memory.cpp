// Who may touch which byte, and when: bounds, alignment, shared memory nobody wrote, copies in flight, and races.
//
// Two accesses of one byte, at least one of them a write, race unless the same thread made both or a chain of barriers
// (of the block, of a warp, named ones, mbarriers) leads from the first to the second.
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <string>

#include "readers.h"
#include "runtime.h"

extern "C" void* __tls_get_addr(size_t* module_and_offset);

namespace chip::host {
namespace {

struct Mark {
    uint32_t block = 0;  // 0: never touched, else the block's number + 1
    uint32_t block_epoch = 0;
    uint32_t clock = 0;   // the agent's
    uint16_t agent = 0;   // a thread, or an mbarrier behind them
    bool atomic = false;
    bool in_flight = false;
};

struct SharedByte {
    Mark written;
    uint32_t read_epoch = 0;  // of `readers`; of an older one they no longer matter
    uint32_t readers = 0;     // a set of `ReaderSets`
};

struct Area {
    uintptr_t begin = 0;
    size_t bytes = 0;
    bool holds(uintptr_t at, size_t size) const { return at >= begin && at - begin + size <= bytes; }
};

alignas(1024) unsigned char dynamic_memory[MOST_SHARED];
Area dynamic_area, static_area;
std::vector<Area> image;  // this library's own segments: constants of the kernel
std::vector<SharedByte> dynamic_bytes, static_bytes;
std::vector<Buffer> buffers;
std::vector<Mark*> buffer_marks;  // last plain writer of every byte of every buffer
size_t last_buffer = 0;

// The library this code is in: its segments, and its thread-local segment, which is exactly the __shared__ variables.
int find_image(dl_phdr_info* info, size_t, void*) {
    const uintptr_t here = reinterpret_cast<uintptr_t>(&find_image);
    Area shared;
    std::vector<Area> loaded;
    bool mine = false;
    for (int i = 0; i < info->dlpi_phnum; ++i) {
        const ElfW(Phdr)& segment = info->dlpi_phdr[i];
        const Area area = {info->dlpi_addr + segment.p_vaddr, segment.p_memsz};
        if (segment.p_type == PT_TLS) shared.bytes = segment.p_memsz;
        if (segment.p_type != PT_LOAD) continue;
        loaded.push_back(area);
        mine = mine || area.holds(here, 1);
    }
    if (!mine) return 0;
    if (shared.bytes > 0) {  // asking for the address is what makes this thread's copy exist
        size_t start[2] = {info->dlpi_tls_modid, 0};
        shared.begin = reinterpret_cast<uintptr_t>(__tls_get_addr(start));
    }
    image = loaded;
    static_area = shared;
    return 1;
}

bool ordered(const Mark& before, const Thread& now) {
    if (before.block != running_block() + 1) return false;
    if (before.agent == now.index || before.block_epoch != now.block_epoch) return true;
    return before.clock <= now.known.of(before.agent, now.block_epoch);
}

Mark mark_of(const Thread& thread) {
    Mark mark;
    mark.block = running_block() + 1;
    mark.block_epoch = thread.block_epoch;
    mark.clock = thread.clock;
    mark.agent = static_cast<uint16_t>(thread.index);
    return mark;
}

ReaderSets reader_sets;

uint32_t readers_of(const SharedByte& byte, const Thread& thread) {
    return byte.read_epoch == thread.block_epoch + 1 ? byte.readers : 0;
}

[[noreturn]] void race(const Thread& now, const Mark& before, const char* did, const char* had, size_t offset,
                       const char* where, const void* pc) {
    if (before.block != running_block() + 1) {
        fail("race", pc, "thread %d %s byte %zu of %s, which block number %u %s in the same launch", now.index, did,
             offset, where, before.block - 1, had);
    }
    const bool copy = before.agent >= threads_in_block();
    fail("race", pc, "thread %d %s byte %zu of %s, which %s %d %s with no barrier between", now.index, did, offset,
         where, copy ? "a copy for mbarrier" : "thread", copy ? before.agent - threads_in_block() : before.agent, had);
}

void check_shared(Thread& thread, SharedByte& byte, size_t offset, Access access, const char* where, const void* pc) {
    if (byte.written.in_flight) {
        fail("in_flight", pc, "thread %d touches byte %zu of %s, where a copy of thread %d is under way: no wait",
             thread.index, offset, where, byte.written.agent);
    }
    if (access != Access::write && byte.written.block == 0) {
        fail("unwritten", pc, "thread %d reads byte %zu of %s, which nothing wrote", thread.index, offset, where);
    }
    const bool both_atomic = access == Access::atomic && byte.written.atomic;
    if (byte.written.block != 0 && !both_atomic && !ordered(byte.written, thread)) {
        race(thread, byte.written, access == Access::read ? "reads" : "writes", "wrote", offset, where, pc);
    }
    const uint32_t readers = readers_of(byte, thread);
    if (access == Access::read) {
        byte.readers = reader_sets.with(readers, thread);
        byte.read_epoch = thread.block_epoch + 1;
        return;
    }
    Mark reader = mark_of(thread);
    int unordered = 0;
    if (readers != 0 && !reader_sets.ordered_before(readers, thread, unordered)) {
        reader.agent = static_cast<uint16_t>(unordered);
        race(thread, reader, "writes", "reads", offset, where, pc);
    }
    byte.written = mark_of(thread);
    byte.written.atomic = access == Access::atomic;
}

void check_buffer(Thread& thread, size_t which, uintptr_t at, size_t bytes, Access access, const void* pc) {
    const Buffer& buffer = buffers[which];
    const size_t offset = at - buffer.begin;
    if (access != Access::read && !buffer.writable) {
        fail("read_only", pc, "thread %d writes byte %zu of argument %d, which is const", thread.index, offset,
             buffer.argument);
    }
    if (!thread.previous_grid_done && !(buffer.settled && access == Access::read)) {
        fail("dependency", pc, "thread %d touches argument %d, which an earlier grid may still be writing: no wait",
             thread.index, buffer.argument);
    }
    if (access == Access::atomic) return;
    char where[32];
    for (size_t i = offset; i < offset + bytes; ++i) {
        Mark& written = buffer_marks[which][i];
        if (written.block != 0 && !ordered(written, thread)) {
            snprintf(where, sizeof where, "argument %d", buffer.argument);
            race(thread, written, access == Access::read ? "reads" : "writes", "wrote", i, where, pc);
        }
        if (access == Access::write) written = mark_of(thread);
    }
}

// The nearest thing an address could have been meant for.
std::string nearest(uintptr_t at) {
    std::string best = "no memory of this launch";
    size_t distance = 1 << 20;
    const auto consider = [&](uintptr_t begin, size_t bytes, const std::string& name) {
        const size_t gap = at < begin ? begin - at : at - begin;
        const size_t beyond = at < begin ? gap : (gap >= bytes ? gap - bytes : 0);
        if (beyond >= distance) return;
        distance = beyond;
        best = std::to_string(beyond) + " bytes " + (at < begin ? "before " : "past the end of ") + name + " (" +
               std::to_string(bytes) + " bytes)";
    };
    for (const Buffer& buffer : buffers)
        consider(buffer.begin, buffer.bytes, "argument " + std::to_string(buffer.argument));
    consider(static_area.begin, static_area.bytes, "static shared memory");
    consider(dynamic_area.begin, dynamic_area.bytes, "dynamic shared memory");
    return best;
}

}  // namespace

void check(Thread& thread, const void* address, size_t bytes, Access access, const void* pc) {
    const uintptr_t at = reinterpret_cast<uintptr_t>(address);
    if (dynamic_area.holds(at, bytes)) {
        const size_t offset = at - dynamic_area.begin;
        for (size_t i = offset; i < offset + bytes; ++i)
            check_shared(thread, dynamic_bytes[i], i, access, "dynamic shared memory", pc);
        return;
    }
    if (static_area.holds(at, bytes)) {
        const size_t offset = at - static_area.begin;
        for (size_t i = offset; i < offset + bytes; ++i)
            check_shared(thread, static_bytes[i], i, access, "static shared memory", pc);
        return;
    }
    for (size_t tried = 0; tried < buffers.size(); ++tried) {
        const size_t which = (last_buffer + tried) % buffers.size();
        if (!Area{buffers[which].begin, buffers[which].bytes}.holds(at, bytes)) continue;
        last_buffer = which;
        check_buffer(thread, which, at, bytes, access, pc);
        return;
    }
    for (const Area& area : image)
        if (access == Access::read && area.holds(at, bytes)) return;
    fail("out_of_bounds", pc, "thread %d %s %zu bytes at %s", thread.index, access == Access::read ? "reads" : "writes",
         bytes, nearest(at).c_str());
}

bool is_shared(const void* address, size_t bytes) {
    const uintptr_t at = reinterpret_cast<uintptr_t>(address);
    return dynamic_area.holds(at, bytes) || static_area.holds(at, bytes);
}

void check_in_flight(Thread& thread, const void* address, size_t bytes, const void* pc) {
    const uintptr_t at = reinterpret_cast<uintptr_t>(address);
    const bool dynamic = dynamic_area.holds(at, bytes);
    if (!dynamic && !static_area.holds(at, bytes)) {
        fail("out_of_bounds", pc, "thread %d copies %zu bytes to %s", thread.index, bytes, nearest(at).c_str());
    }
    check(thread, address, bytes, Access::write, pc);
    SharedByte* first = dynamic ? &dynamic_bytes[at - dynamic_area.begin] : &static_bytes[at - static_area.begin];
    for (size_t i = 0; i < bytes; ++i) first[i].written.in_flight = true;
}

void land(Thread& thread, const Copy& copy) {
    const uintptr_t at = reinterpret_cast<uintptr_t>(copy.shared);
    const bool dynamic = dynamic_area.holds(at, 16);
    SharedByte* first = dynamic ? &dynamic_bytes[at - dynamic_area.begin] : &static_bytes[at - static_area.begin];
    memcpy(copy.shared, copy.global, copy.source_bytes);
    memset(copy.shared + copy.source_bytes, 0, 16 - copy.source_bytes);
    for (int i = 0; i < 16; ++i) first[i].written = mark_of(thread);
}

void land_box(unsigned char* shared, const unsigned char* global, size_t bytes, int agent, uint32_t clock) {
    SharedByte* first = &dynamic_bytes[reinterpret_cast<uintptr_t>(shared) - dynamic_area.begin];
    if (global != nullptr) memcpy(shared, global, bytes);
    else memset(shared, 0, bytes);
    Mark mark;
    mark.block = running_block() + 1;
    mark.block_epoch = fibre_of(0).thread.block_epoch;
    mark.clock = clock;
    mark.agent = static_cast<uint16_t>(agent);
    for (size_t i = 0; i < bytes; ++i) first[i].written = mark;
}

uint64_t check_operand(Thread& thread, const unsigned char* address, Site site) {
    check(thread, address, 16, Access::read, nullptr);
    const Mark& written = dynamic_bytes[reinterpret_cast<uintptr_t>(address) - dynamic_area.begin].written;
    const uint64_t when = uint64_t(written.agent) << 48 ^ uint64_t(written.block_epoch) << 32 ^ written.clock;
    if (written.agent >= threads_in_block()) return when;  // TMA wrote it
    const Thread& writer = fibre_of(written.agent).thread;
    const bool later_epoch = written.block_epoch != thread.block_epoch || writer.index == thread.index;
    const uint32_t known = later_epoch ? ~0u : thread.known.of(written.agent, thread.block_epoch);
    for (const uint32_t fence : writer.proxy_fences)
        if (fence >= written.clock && fence < known) return when;
    fail("proxy", nullptr, "wgmma at %s:%d reads byte %zu of dynamic shared memory, which thread %d wrote: no "
         "async_proxy_fence since", site.file, site.line,
         size_t(reinterpret_cast<uintptr_t>(address) - dynamic_area.begin), written.agent);
}

unsigned char* dynamic_address(unsigned offset, size_t bytes, Site site) {
    if (offset + bytes <= dynamic_area.bytes) return dynamic_memory + offset;
    fail("out_of_bounds", nullptr, "wgmma at %s:%d reads %zu bytes at byte %u of dynamic shared memory (%zu bytes)",
         site.file, site.line, bytes, offset, dynamic_area.bytes);
}

unsigned shared_offset(const void* shared, Site site) {
    const uintptr_t at = reinterpret_cast<uintptr_t>(shared);
    if (dynamic_area.holds(at, 16)) return static_cast<unsigned>(at - dynamic_area.begin);
    fail("out_of_bounds", nullptr, "the matrix at %s:%d is at %s", site.file, site.line, nearest(at).c_str());
}

void memory_next_epoch() { reader_sets.clear(); }

const char* memory_begin_launch(const Buffer* given, int count, size_t bytes) {
    dl_iterate_phdr(find_image, nullptr);
    if (static_area.bytes + bytes > MOST_SHARED) return "more shared memory than a block can have (232448 bytes)";
    dynamic_area = {reinterpret_cast<uintptr_t>(dynamic_memory), bytes};
    for (Mark* marks : buffer_marks) free(marks);
    buffers.assign(given, given + count);
    buffer_marks.clear();
    for (const Buffer& buffer : buffers)
        buffer_marks.push_back(static_cast<Mark*>(calloc(buffer.bytes + 1, sizeof(Mark))));  // touched pages only
    last_buffer = 0;
    return nullptr;
}

void memory_begin_block() {
    reader_sets.clear();
    dynamic_bytes.assign(dynamic_area.bytes, SharedByte());
    static_bytes.assign(static_area.bytes, SharedByte());
    memset(dynamic_memory, 0xff, dynamic_area.bytes);
    memset(reinterpret_cast<void*>(static_area.begin), 0xff, static_area.bytes);
}

void* dynamic_shared_memory() { return dynamic_memory; }

void check_alignment(const void* address, unsigned bytes, Site site) {
    if (reinterpret_cast<uintptr_t>(address) % bytes == 0) return;
    fail("misaligned", nullptr, "thread %d moves %u bytes at an address that is no multiple of that, %s:%d",
         running()->index, bytes, site.file, site.line);
}

void check_atomic(const void* address, unsigned bytes, Site site) {
    check_alignment(address, bytes, site);
    check(*running(), address, bytes, Access::atomic, __builtin_return_address(0));
}

}  // namespace chip::host
