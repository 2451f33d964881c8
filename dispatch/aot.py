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
    # Written as a launch writes it, down to what says nothing: Triton keeps what it compiled under this text, so that
    # what is compiled here is not compiled again at the launch.
    constants = {(index,): kernel.constexprs[name] for index, name in enumerate(arguments) if name in kernel.constexprs}
    source = ASTSource(
        fn=kernel.function,
        signature={name: kernel.signature.get(name, "constexpr") for name in arguments},
        constexprs=constants,
        attrs={(index,): _known(kernel, name) for index, name in enumerate(arguments) if _asked(kernel, name)},
    )
    options = {"num_warps": kernel.num_warps, "num_stages": kernel.num_stages}
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


def _asked(kernel: AotKernel, name: str) -> bool:
    """Whether a launch looks at what this argument is a multiple of: not at descriptors, nor where it must not."""
    (parameter,) = (one for one in kernel.function.params if one.name == name)
    return not parameter.do_not_specialize and not kernel.signature.get(name, "").startswith("tensordesc")


def _known(kernel: AotKernel, name: str) -> list[list[Any]]:
    return [["tt.divisibility", 16]] if name in kernel.divisible else []
