// What the compiler calls before every load and store of a kernel (-fsanitize=thread), and where a kernel does what the
// language leaves undefined (-fsanitize=bounds,shift,...): we stand in for the sanitizers' own runtimes.
#include "runtime.h"

using namespace chip::host;

namespace {

void hook(void* address, size_t bytes, size_t alignment, Access access, void* pc) {
    Thread* thread = running();
    if (thread == nullptr || on_own_stack(address)) return;
    if (reinterpret_cast<uintptr_t>(address) % alignment != 0) {
        fail("misaligned", pc, "thread %d %s %zu bytes at an address that is no multiple of %zu", thread->index,
             access == Access::read ? "reads" : "writes", bytes, alignment);
    }
    check(*thread, address, bytes, access, pc);
}

struct SourceLocation {
    const char* file;
    unsigned line, column;
};

[[noreturn]] void undefined(const SourceLocation* at, const char* kind, const char* what) {
    const Thread* thread = running();
    fail(kind, nullptr, "thread %d: %s at %s:%u", thread == nullptr ? -1 : thread->index, what, at->file, at->line);
}

}  // namespace

#define HOOK(name, bytes, alignment, access) \
    void name(void* address) { hook(address, bytes, alignment, access, __builtin_return_address(0)); }
#define HOOKS(bytes)                                           \
    HOOK(__tsan_read##bytes, bytes, bytes, Access::read)       \
    HOOK(__tsan_write##bytes, bytes, bytes, Access::write)     \
    HOOK(__tsan_unaligned_read##bytes, bytes, 1, Access::read) \
    HOOK(__tsan_unaligned_write##bytes, bytes, 1, Access::write)
#define UNDEFINED(name, kind, what) \
    void __ubsan_handle_##name##_abort(const SourceLocation* at) { undefined(at, kind, what); }

extern "C" {

HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)

void __tsan_read_range(void* address, size_t bytes) {
    hook(address, bytes, 1, Access::read, __builtin_return_address(0));
}
void __tsan_write_range(void* address, size_t bytes) {
    hook(address, bytes, 1, Access::write, __builtin_return_address(0));
}
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}

UNDEFINED(out_of_bounds, "out_of_bounds", "an index outside its array")
UNDEFINED(shift_out_of_bounds, "overflow", "a shift by more than the type's width")
UNDEFINED(divrem_overflow, "overflow", "a division by zero, or one that overflows")
UNDEFINED(add_overflow, "overflow", "an integer sum that overflows")
UNDEFINED(sub_overflow, "overflow", "an integer difference that overflows")
UNDEFINED(mul_overflow, "overflow", "an integer product that overflows")
UNDEFINED(negate_overflow, "overflow", "an integer negation that overflows")
}
