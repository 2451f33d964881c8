"""How a Triton kernel asks to be compiled ahead of time, for a GPU that need not be there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class AotKernel(NamedTuple):
    """One Triton kernel with one set of argument types, ready for `compile_ahead`.

    name:       what reports call this variant
    function:   the `triton.jit` function (not an interpreted one)
    signature:  type of every argument that is not a constexpr, "*bf16", "i32", ..., in any order
    constexprs: value of every constexpr argument
    divisible:  arguments known to be multiples of 16 (pointers: 16-byte aligned), as the launcher would find out
    """

    name: str
    function: Any
    signature: Mapping[str, str]
    constexprs: Mapping[str, Any]
    num_warps: int = 4
    num_stages: int = 3
    divisible: tuple[str, ...] = ()


def compile_ahead(kernel: AotKernel, capability: int = 90) -> Any:
    """Compile for an NVIDIA GPU of compute capability `capability` (90 is Hopper) without needing one.

    Returns Triton's compiled kernel (`.asm["ptx"]`, `.asm["cubin"]`, `.metadata`). Needs a process in which Triton is
    not interpreting. Raises ValueError for a kernel whose arguments are not all named, or that is interpreted.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    if not isinstance(kernel.function, triton.JITFunction):
        raise ValueError(f"{kernel.name}: expected a compiled Triton function; unset TRITON_INTERPRET and start afresh")
    arguments = list(kernel.function.arg_names)
    named = {*kernel.signature, *kernel.constexprs}
    if set(arguments) != named:
        missing, unknown = set(arguments) - named, named - set(arguments)
        raise ValueError(f"{kernel.name}: missing arguments {sorted(missing)}, unknown arguments {sorted(unknown)}")
    source = ASTSource(
        fn=kernel.function,
        signature={name: kernel.signature.get(name, "constexpr") for name in arguments},
        constexprs={(arguments.index(name),): value for name, value in kernel.constexprs.items()},
        attrs={(arguments.index(name),): [["tt.divisibility", 16]] for name in kernel.divisible},
    )
    options = {"num_warps": kernel.num_warps, "num_stages": kernel.num_stages}
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
