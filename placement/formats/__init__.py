"""Recorded routing in the formats of others and our own, and placements in the formats of serving engines."""

from .exports import EXPORTS, Export, phy2log, read_phy2log, to_eplb, to_trtllm
from .recorded import CountsFile, Recorded, TokensFile
from .table import AUTO, FORMATS, Format, read_recorded

__all__ = [
    "AUTO",
    "EXPORTS",
    "FORMATS",
    "CountsFile",
    "Export",
    "Format",
    "Recorded",
    "TokensFile",
    "phy2log",
    "read_phy2log",
    "read_recorded",
    "to_eplb",
    "to_trtllm",
]
