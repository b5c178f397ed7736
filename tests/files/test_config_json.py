"""Config dataclasses as JSON and as `field=value` texts, nested ones too."""

import dataclasses
import json

import pytest

from reseg_jax.errors import UserError
from reseg_jax.files import config_json
from reseg_jax.files.config_json import differences, from_dict, override, replace, to_dict


@dataclasses.dataclass(frozen=True)
class Engine:
    cylinders: int = 4
    turbo: bool = False


@dataclasses.dataclass(frozen=True)
class Gears:
    count: int = 5
    ratios: tuple[float, ...] = (1.0, 2.0)

    def __post_init__(self):
        if len(self.ratios) > self.count:
            raise UserError(f"ratios={self.ratios}: there are {self.count} gears")


@dataclasses.dataclass(frozen=True)
class Car:
    name: str = "car"
    doors: int = 4
    weight: float = 1.5
    sizes: tuple[tuple[int, int], ...] = ((1, 2),)
    pair: tuple[str, str] = ("front", "rear")
    rate: float | None = None
    unroll: int | str = 1
    engine: Engine | None = Engine()
    gears: Gears = Gears()


@dataclasses.dataclass(frozen=True)
class Motor:
    turbo: bool = True  # a field of an engine, too
    volts: int = 400
    cells: int = 96


@dataclasses.dataclass(frozen=True)
class Hybrid:
    drive: Engine | Motor | None = Motor()


@dataclasses.dataclass(frozen=True)
class Bicycle:
    name: str = "car"


OTHER = Car(
    "other", 2, 0.5, ((3, 4), (5, 6)), ("left", "right"), 0.1, "all", Engine(6, True), Gears(7, ())
)
WITHOUT = Car(engine=None)
FIELDS = [
    *("name", "doors", "weight", "sizes", "pair", "rate", "unroll"),
    *("engine", "engine.cylinders", "engine.turbo", "gears", "gears.count", "gears.ratios"),
]


# --- JSON ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [Car(), OTHER, WITHOUT])
def test_same_value_after_json(config):
    again = from_dict(Car, json.loads(json.dumps(to_dict(config))))
    assert again == config
    assert hash(again) == hash(config)  # lists are tuples again
    assert from_dict(Car, to_dict(config)) == config


def test_fields_that_json_lacks_have_their_defaults():
    assert from_dict(Car, {"engine": {"turbo": True}}) == Car(engine=Engine(4, True))
    assert from_dict(Car, {}) == Car()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"size": 1, "color": 2, "doors": 3}, "Car has no field color, size"),
        ({"engine": {"pistons": 4}}, "Engine has no field pistons"),
        ({"doors": {"left": 1}}, "doors has no fields of its own"),
        ({"gears": {"count": 1}}, "there are 1 gears"),  # what the dataclass itself refuses
    ],
)
def test_json_that_fits_no_field_is_refused(values, words):
    with pytest.raises(UserError, match=words):
        from_dict(Car, values)


@pytest.mark.parametrize("drive", [Engine(), Motor(volts=800), None])
def test_a_field_may_hold_one_of_several_dataclasses(drive):
    again = from_dict(Hybrid, json.loads(json.dumps(to_dict(Hybrid(drive)))))
    assert again == Hybrid(drive)


def test_the_fields_tell_which_of_several_it_is():
    assert from_dict(Hybrid, {"drive": {"volts": 12}}).drive == Motor(volts=12)
    assert from_dict(Hybrid, {"drive": {"turbo": True}}).drive == Engine(turbo=True)  # the first
    with pytest.raises(UserError, match="Motor has no field cylinders"):
        from_dict(Hybrid, {"drive": {"volts": 12, "cells": 6, "cylinders": 3}})


# --- names and values ----------------------------------------------------------------------------


@pytest.mark.parametrize("config", [Car, Car(), OTHER, WITHOUT])
def test_field_names_are_those_that_a_value_could_have(config):
    """Those of a dataclass that happens to be None, too: the type has them."""
    assert config_json.field_names(config) == FIELDS


def test_field_names_of_one_of_several_are_those_of_what_is_held():
    motor = ["drive", "drive.turbo", "drive.volts", "drive.cells"]
    assert config_json.field_names(Hybrid()) == motor
    assert config_json.field_names(Hybrid) == motor
    names = config_json.field_names(Hybrid(None))
    assert names == ["drive", "drive.cylinders", "drive.turbo", "drive.volts", "drive.cells"]
    assert override(Hybrid(), ["drive.volts=12"]).drive == Motor(volts=12)
    with pytest.raises(UserError, match=r"drive\.cylinders.* the fields are drive\.turbo"):
        override(Hybrid(), ["drive.cylinders=6"])


def test_flat_by_hand():
    assert config_json.flat(OTHER) == {
        "name": "other",
        "doors": 2,
        "weight": 0.5,
        "sizes": ((3, 4), (5, 6)),
        "pair": ("left", "right"),
        "rate": 0.1,
        "unroll": "all",
        "engine.cylinders": 6,
        "engine.turbo": True,
        "gears.count": 7,
        "gears.ratios": (),
    }
    assert config_json.flat(WITHOUT)["engine"] is None


@pytest.mark.parametrize("config", [Car(), OTHER])
def test_flat_values_make_the_config_again(config):
    assert replace(Car(doors=9), config_json.flat(config)) == config


# --- texts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name=truck", Car(name="truck")),
        ("doors=3", Car(doors=3)),
        ("weight=2", Car(weight=2)),  # an integer is a number
        ("weight=1e-3", Car(weight=1e-3)),
        ("sizes=[[2, 3], [1, 1]]", Car(sizes=((2, 3), (1, 1)))),
        ("sizes=[]", Car(sizes=())),
        ('pair=["a", "b"]', Car(pair=("a", "b"))),
        ("rate=0.5", Car(rate=0.5)),
        ("unroll=4", Car(unroll=4)),
        ("unroll=all", Car(unroll="all")),
        ("engine=null", WITHOUT),
        ("engine=None", WITHOUT),
        ("engine.turbo=true", Car(engine=Engine(turbo=True))),
        ("engine.turbo=True", Car(engine=Engine(turbo=True))),
        ("engine.cylinders=8", Car(engine=Engine(8))),
        ("gears.ratios=[1, 2.5]", Car(gears=Gears(ratios=(1, 2.5)))),
    ],
)
def test_override(text, expected):
    found = override(Car(), [text])
    assert found == expected
    assert to_dict(found) == to_dict(expected)
    hash(found)


def test_a_value_may_hold_an_equals_sign():
    assert override(Car(), ["name=a=b"]).name == "a=b"


def test_no_texts_change_nothing():
    assert override(OTHER, []) == OTHER


def test_later_texts_win():
    assert override(Car(), ["engine.cylinders=6", "engine.cylinders=8"]).engine.cylinders == 8


def test_overrides_apply_together():
    """Fields that only fit one another are checked after the last, in nested ones as well."""
    for texts in (["gears.count=3", "gears.ratios=[1, 1, 1]"], ["gears.ratios=[1, 1, 1]"]):
        assert override(Car(), [*texts, "doors=2"]).gears.ratios == (1, 1, 1)
    few, many = "gears.count=1", "gears.ratios=[1]"
    for texts in ([few, many], [many, few]):
        assert override(Car(), texts).gears == Gears(1, (1,))
    with pytest.raises(UserError, match="there are 1 gears"):
        override(Car(), [few])


def test_a_dataclass_may_be_given_whole_and_changed_at_once():
    found = replace(WITHOUT, {"engine": Engine(6), "engine.turbo": True})
    assert found == Car(engine=Engine(6, True))


@pytest.mark.parametrize(
    "text",
    [
        "doors=many",
        "doors=2.5",
        "doors=true",  # although True == 1
        "doors=null",
        "doors=[4]",
        "name=3",
        "weight=heavy",
        "weight=true",
        "pair=sideways",
        'pair=["a"]',
        'pair=["a", "b", "c"]',
        "sizes=[2, 3]",
        "sizes=[[2]]",
        "sizes=[[1.5, 2]]",
        "sizes=[[32, [16]]]",
        "rate=fast",
        "unroll=2.5",
        "unroll=[1]",
        "engine=4",
        'engine={"cylinders": 4}',
        "engine.turbo=1",
        "gears=null",  # may not be left out
    ],
)
def test_a_value_of_another_type_is_refused(text):
    with pytest.raises(UserError) as error:
        override(Car(), [text])
    name = text.partition("=")[0]
    assert str(error.value).startswith(f"--set {name}=")
    assert f"{name.rpartition('.')[2]} must be " in str(error.value)


@pytest.mark.parametrize("name", ["size", "engine.pistons", "doors.left", "wheels.front", ""])
def test_an_unknown_name_lists_the_known_ones(name):
    known = FIELDS if "engine" not in name else ["engine.cylinders", "engine.turbo"]
    with pytest.raises(UserError) as error:
        override(Car(), [f"{name}=1"])
    if name == "doors.left":  # a field, but a number
        assert "doors is 4 here and has no fields" in str(error.value)
    else:
        assert all(field in str(error.value) for field in known)


def test_a_text_without_equals_sign_is_refused():
    with pytest.raises(UserError, match="doors: write field=value"):
        override(Car(), ["doors"])


def test_a_field_of_what_is_not_there_is_refused():
    for config, texts in ((WITHOUT, []), (Car(), ["engine=null"])):
        with pytest.raises(UserError, match=r"engine\.turbo: engine is None here"):
            override(config, [*texts, "engine.turbo=true"])


# --- differences ---------------------------------------------------------------------------------


def test_differences_name_what_differs():
    assert differences(OTHER, OTHER) == {}
    ours, theirs = Car(), Car(doors=3, engine=Engine(turbo=True))
    assert differences(ours, theirs) == {
        "doors": "4 here, 3 there",
        "engine.turbo": "False here, True there",
    }
    assert differences(Car(), Car(unroll="all")) == {"unroll": "1 here, 'all' there"}


def test_every_field_of_a_part_that_one_of_them_lacks_differs():
    assert differences(WITHOUT, Car()) == {
        "engine": "None here, Engine there",
        "engine.cylinders": "nothing here, 4 there",
        "engine.turbo": "nothing here, False there",
    }
    assert differences(Car(), WITHOUT)["engine"] == "Engine here, None there"
    assert set(differences(Car(), WITHOUT)) == set(differences(WITHOUT, Car()))


def test_configs_of_other_types_differ_in_that():
    assert differences(Car(), Bicycle()) == {"network": "Car here, Bicycle there"}
