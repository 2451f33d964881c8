"""How a Triton kernel asks to be compiled ahead of time, for a GPU that need not be there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .compilation import Target


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


@dataclass(frozen=True)
class TritonCompilation:
    """A kernel for compute capability `capability`, as a `Compilation`: kept where Triton's launches look."""

    kernel: AotKernel
    capability: int

    @property
    def name(self) -> str:
        """See `Compilation`."""
        return self.kernel.name

    @property
    def key(self) -> str:
        """See `Compilation`."""
        kernel = self.kernel
        asked = [sorted(kernel.signature.items()), sorted(kernel.divisible), kernel.num_warps, kernel.num_stages]
        return repr([kernel.function.__name__, sorted(kernel.constexprs.items(), key=str), asked, self.capability])

    def kept(self) -> bool:
        """See `Compilation`. Triton itself is asked, up to where it looks into its cache."""
        from triton import knobs
        from triton.runtime.cache import FileCacheManager

        usual: Any = knobs.cache.manager_class or FileCacheManager

        class Looking(usual):
            """Tells what is there in the place of giving it."""

            def get_group(self, filename: str) -> Any:
                raise _LookedError(bool(super().get_group(filename)))

        with knobs.cache.scope():
            knobs.cache.manager_class = Looking
            try:
                self.make()
            except _LookedError as found:
                return found.kept
        raise RuntimeError(f"{self.name}: expected Triton to look into its cache, and it did not")

    def make(self) -> None:
        """See `Compilation`."""
        compile_ahead(self.kernel, self.capability)


class _LookedError(Exception):
    """Ends a compilation where its result is looked for."""

    def __init__(self, kept: bool) -> None:
        super().__init__(kept)
        self.kept = kept


def for_target(kernels: Iterable[AotKernel], target: Target) -> list[TritonCompilation]:
    """The compilations of kernels for a GPU, as Triton counts its capability: 90 for (9, 0)."""
    major, minor = target.capability
    return [TritonCompilation(kernel, 10 * major + minor) for kernel in kernels]


def _asked(kernel: AotKernel, name: str) -> bool:
    """Whether a launch looks at what this argument is a multiple of: not at descriptors, nor where it must not; and at
    constants always from Triton 3.7 on, before at those that are texts.
    """
    if name in kernel.constexprs:
        return _triton_version() >= (3, 7) or isinstance(kernel.constexprs[name], str)
    (parameter,) = (one for one in kernel.function.params if one.name == name)
    return not parameter.do_not_specialize and not kernel.signature.get(name, "").startswith("tensordesc")


def _triton_version() -> tuple[int, int]:
    import triton

    major, minor = triton.__version__.split(".")[:2]
    return int(major), int(minor)


def _known(kernel: AotKernel, name: str) -> list[list[Any]]:
    return [["tt.divisibility", 16]] if name in kernel.divisible else []
