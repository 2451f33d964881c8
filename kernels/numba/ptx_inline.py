"""The instructions of `ptx.py` as inline assembly in the kernel's own code: nothing is linked, all stays in registers.

What linking a CUDA C++ device function would take instead is in LOG.md.
"""

# Device code is Python in spelling only: its types are Numba's, which ships no stubs.
# pyright: reportOptionalSubscript=false, reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false, reportReturnType=false
# pyright: reportMissingImports=false, reportPrivateImportUsage=false

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.cuda.extending import intrinsic
from numba.types import float32, int32, int64, uint32

from .instructions import Instructions

_F32, _I32, _I64, _VOID = ir.FloatType(), ir.IntType(32), ir.IntType(64), ir.VoidType()


def _assembly(builder: Any, result: Any, text: str, constraints: str, *arguments: Any) -> Any:
    """Volatile and convergent: neither moved under a condition nor merged with another."""
    signature = ir.FunctionType(result, [argument.type for argument in arguments])
    call = builder.call(ir.InlineAsm(signature, text, constraints, side_effect=True), arguments)
    call.attributes.add("convergent")
    return call


def _address(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [index])


def _mma(kind: str) -> Any:
    @intrinsic
    def mma(typing, sums, i, j, a0, a1, a2, a3, b0, b1):  # noqa: ARG001
        def generate(context, builder, signature, arguments):
            array = context.make_array(signature.args[0])(context, builder, arguments[0])
            tiles = builder.extract_value(array.shape, 1)
            i, j = (builder.zext(argument, _I64) for argument in arguments[1:3])
            first = builder.mul(builder.add(builder.mul(i, tiles), j), ir.Constant(_I64, 4))
            places = [builder.gep(array.data, [builder.add(first, ir.Constant(_I64, n))]) for n in range(4)]
            result = _assembly(
                builder,
                ir.LiteralStructType([_F32] * 4),
                f"mma.sync.aligned.m16n8k16.row.col.f32.{kind}.{kind}.f32 "
                "{$0, $1, $2, $3}, {$4, $5, $6, $7}, {$8, $9}, {$10, $11, $12, $13};",
                "=f,=f,=f,=f,r,r,r,r,r,r,f,f,f,f",
                *arguments[3:],
                *(builder.load(place) for place in places),
            )
            for n, place in enumerate(places):
                builder.store(builder.extract_value(result, n), place)
            return context.get_dummy_value()

        return types.void(sums, uint32, uint32, *(int32,) * 6), generate

    return mma


def _pack(kind: str) -> Any:
    @intrinsic
    def pack(typing, first, second):  # noqa: ARG001
        def generate(context, builder, signature, arguments):  # noqa: ARG001
            text = f"cvt.rn.{kind}x2.f32 $0, $1, $2;"  # the upper half first
            return _assembly(builder, _I32, text, "=r,f,f", arguments[1], arguments[0])

        return int32(float32, float32), generate

    return pack


@intrinsic
def swiglu(typing, gate, up):  # noqa: ARG001
    """See `Instructions`. Where exp(-gate) overflows, its reciprocal is 0, and so is the result."""

    def generate(context, builder, signature, arguments):  # noqa: ARG001
        lines = (
            "{ .reg .f32 s;",
            "mul.f32 s, $1, 0fBFB8AA3B;",  # -log2(e)
            "ex2.approx.ftz.f32 s, s;",
            "add.f32 s, s, 0f3F800000;",
            "rcp.approx.ftz.f32 s, s;",
            "mul.f32 s, s, $1;",
            "mul.f32 $0, s, $2; }",
        )
        return _assembly(builder, _F32, " ".join(lines), "=f,f,f", *arguments)

    return float32(float32, float32), generate


@intrinsic
def copy(typing, shared, to, source, at, bytes):  # noqa: A002, ARG001
    """See `Instructions`: cp.async, past L1."""

    def generate(context, builder, signature, arguments):
        inside = _address(context, builder, signature.args[0], arguments[0], builder.zext(arguments[1], _I64))
        target = builder.ptrtoint(builder.addrspacecast(inside, ir.PointerType(ir.IntType(8), 3)), _I32)
        outside = _address(context, builder, signature.args[2], arguments[2], arguments[3])
        text = "{ .reg .u64 from; cvta.to.global.u64 from, $1; cp.async.cg.shared.global [$0], [from], 16, $2; }"
        pointer = builder.ptrtoint(outside, _I64)
        _assembly(builder, _VOID, text, "r,l,r,~{memory}", target, pointer, arguments[4])
        return context.get_dummy_value()

    return types.void(shared, uint32, source, int64, int32), generate


def _plain(text: str) -> Any:
    @intrinsic
    def instruction(typing):  # noqa: ARG001
        def generate(context, builder, signature, arguments):  # noqa: ARG001
            _assembly(builder, _VOID, text, "~{memory}")
            return context.get_dummy_value()

        return types.void(), generate

    return instruction


commit = _plain("cp.async.commit_group;")


def waits(groups: int) -> Any:
    """See `Instructions`."""
    return _plain(f"cp.async.wait_group {groups};")


INSTRUCTIONS = {
    "float16": Instructions(_mma("f16"), _pack("f16")),
    "bfloat16": Instructions(_mma("bf16"), _pack("bf16")),
}
