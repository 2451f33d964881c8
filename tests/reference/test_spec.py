from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mohge.reference import PRESETS, LayerSpec

GOOD: dict[str, Any] = {
    "name": "tiny",
    "hidden": 8,
    "widths": (4, 6),
    "experts_per_group": 3,
    "top_k": 2,
    "top_groups": 1,
}
TOML = "hidden = 8\nwidths = [4, 6]\nexperts_per_group = 3\ntop_k = 2\ntop_groups = 1\n"


@dataclass(frozen=True)
class Bad:
    name: str
    message: str
    change: dict[str, Any] = field(default_factory=dict)


BAD_FIELDS = [
    Bad("no groups", "widths: expected at least one group, got none", {"widths": ()}),
    Bad("width zero", "widths: expected at least 1, got 0", {"widths": (4, 0)}),
    Bad("width negative", "widths: expected at least 1, got -6", {"widths": (4, -6)}),
    Bad("width fraction", "widths: expected a whole number, got 4.5", {"widths": (4.5, 6)}),
    Bad("widths one number", "widths: expected a list with one width per group, got 4", {"widths": 4}),
    Bad("widths missing", "widths: expected a list with one width per group, got None", {"widths": None}),
    Bad("widths text", "widths: expected a list with one width per group, got '46'", {"widths": "46"}),
    Bad("hidden zero", "hidden: expected at least 1, got 0", {"hidden": 0}),
    Bad("hidden true", "hidden: expected a whole number, got True", {"hidden": True}),
    Bad("no experts", "experts_per_group: expected at least 1, got 0", {"experts_per_group": 0}),
    Bad("no experts a token", "top_k: expected at least 1, got 0", {"top_k": 0}),
    Bad("no groups a token", "top_groups: expected at least 1, got 0", {"top_groups": 0}),
    Bad("shared negative", "shared_width: expected at least 0, got -1", {"shared_width": -1}),
    Bad("no name", "name: expected a non-empty text, got ''", {"name": ""}),
    Bad("K_g > G", "top_groups: expected at most 2 (the number of groups), got 3", {"top_groups": 3}),
    Bad("K > E", "top_k: expected at most 6 (the number of experts), got 7", {"top_k": 7, "top_groups": 2}),
    Bad("K > K_g N", "top_k: expected at most 3 (top_groups 1 x experts_per_group 3), got 4", {"top_k": 4}),
]


@pytest.mark.parametrize("bad", BAD_FIELDS, ids=lambda bad: bad.name)
def test_impossible_field_is_named(bad: Bad) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(bad.message)}"):
        LayerSpec(**{**GOOD, **bad.change})


def test_every_reachable_expert_may_be_used() -> None:
    assert LayerSpec(**{**GOOD, "top_k": 3}).top_k == 3
    assert LayerSpec(**{**GOOD, "top_k": 6, "top_groups": 2}).experts == 6


def test_numpy_numbers_become_plain() -> None:
    spec = LayerSpec(**{**GOOD, "widths": np.array([4, 6]), "hidden": np.int32(8)})
    assert spec == LayerSpec(**GOOD)
    assert type(spec.hidden) is int
    assert [type(width) for width in spec.widths] == [int, int]
    assert hash(spec) == hash(LayerSpec(**GOOD))


def test_experts_are_numbered_group_major() -> None:
    spec = LayerSpec(**GOOD)
    assert (spec.groups, spec.experts) == (2, 6)
    assert spec.expert_widths.tolist() == [4, 4, 4, 6, 6, 6]
    assert spec.expert_groups.tolist() == [0, 0, 0, 1, 1, 1]


# name: H, E, K, first and last width, mean width
PRESET_FACTS = {
    "mohge-3b": (1024, 64, 6, 384, 1280, 832),
    "mohge-3b-uniform": (1024, 64, 6, 1024, 1024, 1024),
    "qwen3-30b-a3b": (2048, 128, 8, 768, 768, 768),
    "olmoe-1b-7b": (2048, 64, 8, 1024, 1024, 1024),
    "mixtral-8x7b": (4096, 8, 2, 14336, 14336, 14336),
    "deepseek-v3": (7168, 256, 8, 2048, 2048, 2048),
    "gpt-oss-20b": (2880, 32, 4, 2880, 2880, 2880),
    "gpt-oss-20b-hetero": (2880, 32, 4, 1760, 4000, 2880),
    "olmoe-1b-7b-hetero": (2048, 64, 8, 576, 1472, 1024),
}


def test_every_preset_has_its_facts_here() -> None:
    assert set(PRESETS) == set(PRESET_FACTS)


@pytest.mark.parametrize("name", PRESET_FACTS)
def test_preset_facts(name: str) -> None:
    spec = LayerSpec.preset(name)
    widths = spec.widths
    assert spec.name == name
    assert (spec.hidden, spec.experts, spec.top_k, widths[0], widths[-1], np.mean(widths)) == PRESET_FACTS[name]
    assert len(set(np.diff(widths))) <= 1, "widths rise arithmetically"
    assert all(width % 32 == 0 for width in widths)


def test_hetero_presets_have_eight_groups_and_the_k_of_their_twins() -> None:
    for twin in ("gpt-oss-20b", "olmoe-1b-7b"):
        uniform, hetero = LayerSpec.preset(twin), LayerSpec.preset(f"{twin}-hetero")
        assert hetero.groups == 8
        assert (hetero.experts, hetero.top_k, hetero.hidden) == (uniform.experts, uniform.top_k, uniform.hidden)


def test_mohge_3b_is_the_released_configuration() -> None:
    spec = LayerSpec.preset("mohge-3b")
    assert spec.widths == (384, 512, 640, 768, 896, 1024, 1152, 1280)
    assert (spec.experts_per_group, spec.top_k, spec.top_groups, spec.shared_width) == (8, 6, 4, 2048)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mohge-3", "unknown preset 'mohge-3'; did you mean 'mohge-3b'? Known: mohge-3b, "),
        ("mixtral", "unknown preset 'mixtral'; did you mean 'mixtral-8x7b'? Known: mohge-3b, "),
        ("zzz", "unknown preset 'zzz'. Known: mohge-3b, "),
    ],
)
def test_unknown_preset_suggests_the_nearest(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        LayerSpec.preset(name)


def test_toml_and_dict_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(TOML + "shared_width = 16\n", encoding="utf-8")
    spec = LayerSpec.from_toml(path)
    assert spec == LayerSpec("mine", 8, (4, 6), 3, 2, 1, shared_width=16)
    assert LayerSpec.from_dict(spec.to_dict()) == spec
    path.write_text('name = "given"\n' + TOML, encoding="utf-8")
    assert LayerSpec.from_toml(str(path)).name == "given"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TOML + "top_kk = 3\n", "unknown key 'top_kk'; did you mean 'top_k'? Known: name, hidden, "),
        (TOML + "zzz = 3\n", "unknown key 'zzz'. Known: name, hidden, "),
        (TOML.replace("hidden = 8\n", ""), "missing hidden"),
        ("", "missing hidden, widths, experts_per_group, top_k, top_groups"),
        (TOML.replace("[4, 6]", "[]"), "widths: expected at least one group, got none"),
        (TOML.replace("[4, 6]", "[4, -6]"), "widths: expected at least 1, got -6"),
        (TOML.replace("hidden = 8", "hidden = 8.0"), "hidden: expected a whole number, got 8.0"),
        (TOML.replace("hidden = 8", "hidden = "), "not a TOML file: Invalid value (at line 1, column 10)"),
    ],
)
def test_bad_toml_names_the_file_and_the_fault(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=f"^{re.escape(f'{path}: {message}')}"):
        LayerSpec.from_toml(path)


def test_unreadable_toml_says_why(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"absent\.toml: cannot be read: No such file or directory"):
        LayerSpec.from_toml(tmp_path / "absent.toml")
    (tmp_path / "latin.toml").write_bytes(b"name = '\xe9'\n")
    with pytest.raises(ValueError, match=r"latin\.toml: not a TOML file: "):
        LayerSpec.from_toml(tmp_path / "latin.toml")
