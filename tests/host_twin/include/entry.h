// CHIP_KERNEL(name): a door through which Python can call kernel `name` with an array of pointers to its arguments, and
// a string that says what they are. For a pointer '*', then 'c' when const; then i, u, f, h, b (integer, unsigned, float,
// half, bfloat16), or v for anything else; then the size in bytes of what is pointed to or passed; then a space.
#pragma once

#include <string>

#include "wrappers.cuh"

namespace chip::host {

template <typename T>
std::string code() {
    if constexpr (std::is_pointer_v<T>) {
        using Target = std::remove_pointer_t<T>;
        return (std::is_const_v<Target> ? "*c" : "*") + code<std::remove_const_t<Target>>();
    } else if constexpr (std::is_void_v<T>) {
        return "v1";
    } else {
        const char* kind = std::is_same_v<T, __half>          ? "h"
                           : std::is_same_v<T, __nv_bfloat16> ? "b"
                           : std::is_floating_point_v<T>      ? "f"
                           : std::is_unsigned_v<T>            ? "u"
                           : std::is_integral_v<T>            ? "i"
                                                              : "v";
        return kind + std::to_string(sizeof(T));
    }
}

template <typename... A>
const char* signature_of(void (*)(A...)) {
    static const std::string text = [] {
        std::string codes;
        ((codes += code<std::remove_const_t<A>>() + " "), ...);
        return codes;
    }();
    return text.c_str();
}

template <typename... A, size_t... I>
__attribute__((no_sanitize_thread)) void call(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_const_t<A>*>(arguments[I])...);
}

template <typename... A>
__attribute__((no_sanitize_thread)) void call(void (*kernel)(A...), void** arguments) {
    call(kernel, arguments, std::index_sequence_for<A...>());
}

}  // namespace chip::host

#define CHIP_KERNEL(name)                                                                                \
    extern "C" __attribute__((visibility("default"))) void chip_call_##name(void** arguments) {           \
        ::chip::host::call(&name, arguments);                                                             \
    }                                                                                                     \
    extern "C" __attribute__((visibility("default"))) const char* chip_signature_##name() {               \
        return ::chip::host::signature_of(&name);                                                         \
    }
